// The operators that TorchScript models of trt_passes call, for programs without Python.
//
// Loading this library registers them, so that torch::jit::load reads such models. Segments run in PyTorch, by the
// graph that is saved with every engine: this library does not load TensorRT.
#include <string>
#include <vector>

#include <ATen/core/grad_mode.h>
#include <torch/library.h>

#include "graph.h"

namespace {

const c10::StorageImpl* memory_of(const at::Tensor& tensor) {
  return tensor.has_storage() ? tensor.storage().unsafeGetStorageImpl() : nullptr;
}

std::vector<at::Tensor> execute_engine(const std::vector<at::Tensor>& inputs, const at::Tensor& engine,
                                       const std::string& spec, const at::Tensor& fallback,
                                       const std::vector<at::Tensor>& constants) {
  const at::NoGradGuard no_grad;
  TORCH_CHECK(fallback.numel() > 0, "this engine has no PyTorch graph to run without TensorRT");
  const at::Tensor bytes = fallback.cpu().contiguous();
  const std::string text(static_cast<const char*>(bytes.const_data_ptr()), bytes.numel());
  std::vector<at::Tensor> arguments(inputs);
  for (const auto& constant : constants) {
    arguments.push_back(inputs.empty() ? constant : constant.to(inputs[0].device()));
  }
  std::vector<at::Tensor> results;
  // A result of an engine never shares memory with an input, a weight or another result.
  for (const auto& result : trt_passes::run_graph(text, arguments)) {
    const auto* memory = memory_of(result);
    bool shared = false;
    for (const auto* others : {&arguments, &results}) {
      for (const auto& other : *others) shared = shared || (memory != nullptr && memory_of(other) == memory);
    }
    results.push_back(shared ? result.clone() : result);
  }
  return results;
}

// The first and the last byte that a tensor may touch.
std::pair<const char*, const char*> extent(const at::Tensor& tensor) {
  const char* start = static_cast<const char*>(tensor.const_data_ptr());
  int64_t last = 0;
  for (int64_t dim = 0; dim < tensor.dim(); ++dim) last += (tensor.size(dim) - 1) * tensor.stride(dim);
  return {start, start + (last + 1) * static_cast<int64_t>(tensor.element_size())};
}

// Whether no input overlaps with another tensor, where one of them is written to. Views that lie between each other,
// such as x[::2] and x[1::2], count as overlapping here.
bool share_no_memory(const std::vector<at::Tensor>& inputs, const std::vector<at::Tensor>& state,
                     const std::vector<int64_t>& written) {
  std::vector<at::Tensor> all(inputs);
  all.insert(all.end(), state.begin(), state.end());
  std::vector<bool> writes(all.size(), false);
  for (const int64_t place : written) writes.at(place) = true;
  for (size_t one = 0; one < inputs.size(); ++one) {
    for (size_t other = one + 1; other < all.size(); ++other) {
      const bool matters = (writes[one] || writes[other]) && all[one].numel() > 0 && all[other].numel() > 0;
      if (!matters || memory_of(all[one]) == nullptr || memory_of(all[one]) != memory_of(all[other])) continue;
      const auto [first, end] = extent(all[one]);
      const auto [other_first, other_end] = extent(all[other]);
      if (first < other_end && other_first < end) return false;
    }
  }
  return true;
}

}  // namespace

TORCH_LIBRARY(trt_passes, library) {
  library.def(
      "execute_engine(Tensor[] inputs, Tensor engine, str spec, Tensor fallback, Tensor[] constants) -> Tensor[]");
  library.def("share_no_memory(Tensor[] inputs, Tensor[] state, int[] written) -> bool");
}

TORCH_LIBRARY_IMPL(trt_passes, CompositeExplicitAutograd, library) {
  library.impl("execute_engine", execute_engine);
  library.impl("share_no_memory", share_no_memory);
}

TORCH_LIBRARY_IMPL(trt_passes, Autograd, library) {
  library.impl("execute_engine", torch::CppFunction::makeFallthrough());
}
