// The PyTorch graph of a segment, which trt_passes writes as JSON, run by PyTorch's dispatcher.
#pragma once

#include <string>
#include <vector>

#include <ATen/ATen.h>

namespace trt_passes {

// The results of the graph for inputs, then weights. What it makes is made where the first input is.
//
// Throws c10::Error where the text is damaged, or the graph has what C++ cannot run: operators of Python libraries, and
// operators that take graphs other than branches (cond) and loops (while_loop).
std::vector<at::Tensor> run_graph(const std::string& text, const std::vector<at::Tensor>& arguments);

}  // namespace trt_passes
