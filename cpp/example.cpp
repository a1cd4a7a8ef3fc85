// Runs a compiled model without Python: its inputs and results are files.
//
//     trt_passes_example MODEL INPUTS.pt RESULTS.pt [CALLS]
//
// MODEL is TorchScript, or a package of AOTInductor's, which ends in .pt2 and takes and returns tensors only, in a row.
// INPUTS.pt holds a tuple of arguments, as torch.save(inputs, "INPUTS.pt") writes it; RESULTS.pt gets what the calls
// return, for torch.load(…, weights_only=False). The model is called CALLS times (once by default), and keeps its state.
#include <exception>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

// Not torch/script.h, which holds all of PyTorch and takes a minute to compile.
#include <ATen/core/grad_mode.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>
#include <torch/csrc/jit/serialization/import.h>
#include <torch/csrc/jit/serialization/pickle.h>

namespace {

using Model = std::function<c10::IValue(const std::vector<c10::IValue>&)>;

Model model_in(const std::string& path) {
  if (path.size() < 4 || path.compare(path.size() - 4, 4, ".pt2") != 0) {
    return [script = torch::jit::load(path)](const std::vector<c10::IValue>& inputs) mutable {
      return script.forward(inputs);
    };
  }
  const auto package = std::make_shared<torch::inductor::AOTIModelPackageLoader>(path);
  return [package](const std::vector<c10::IValue>& inputs) {
    std::vector<at::Tensor> tensors;
    for (const auto& input : inputs) tensors.push_back(input.toTensor());
    const std::vector<at::Tensor> results = package->run(tensors);
    return c10::ivalue::Tuple::create(std::vector<c10::IValue>(results.begin(), results.end()));
  };
}

}  // namespace

int main(int count, char** words) {
  if (count < 4 || count > 5) {
    std::cerr << "usage: trt_passes_example MODEL INPUTS.pt RESULTS.pt [CALLS]\n";
    return 1;
  }
  try {
    const Model model = model_in(words[1]);
    std::ifstream file(words[2], std::ios::binary);
    if (!file) throw std::runtime_error(std::string("cannot read ") + words[2]);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    const c10::IValue given = torch::jit::pickle_load(bytes);
    if (!given.isTuple()) throw std::runtime_error(std::string(words[2]) + " holds no tuple of arguments");
    const std::vector<c10::IValue> inputs = given.toTupleRef().elements();
    std::vector<c10::IValue> results;
    const at::NoGradGuard no_grad;
    for (int call = 0; call < (count > 4 ? std::stoi(words[4]) : 1); ++call) results.push_back(model(inputs));
    const std::vector<char> written = torch::jit::pickle_save(c10::ivalue::Tuple::create(results));
    std::ofstream(words[3], std::ios::binary).write(written.data(), static_cast<std::streamsize>(written.size()));
  } catch (const c10::Error& error) {
    std::cerr << error.what_without_backtrace() << "\n";
    return 2;
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 2;
  }
  return 0;
}
