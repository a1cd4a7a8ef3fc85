// Runs a compiled TorchScript model without Python: its inputs and results are files.
//
//     trt_passes_example MODEL.ts INPUTS.pt RESULTS.pt [CALLS]
//
// INPUTS.pt holds a tuple of arguments, as torch.save(inputs, "INPUTS.pt") writes it; RESULTS.pt gets what the calls
// return, for torch.load(…, weights_only=False). The model is called CALLS times (once by default), and keeps its state.
#include <exception>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

// Not torch/script.h, which holds all of PyTorch and takes a minute to compile.
#include <ATen/core/grad_mode.h>
#include <torch/csrc/jit/serialization/import.h>
#include <torch/csrc/jit/serialization/pickle.h>

int main(int count, char** words) {
  if (count < 4 || count > 5) {
    std::cerr << "usage: trt_passes_example MODEL.ts INPUTS.pt RESULTS.pt [CALLS]\n";
    return 1;
  }
  try {
    torch::jit::Module model = torch::jit::load(words[1]);
    std::ifstream file(words[2], std::ios::binary);
    if (!file) throw std::runtime_error(std::string("cannot read ") + words[2]);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    const c10::IValue given = torch::jit::pickle_load(bytes);
    if (!given.isTuple()) throw std::runtime_error(std::string(words[2]) + " holds no tuple of arguments");
    const std::vector<c10::IValue> inputs = given.toTupleRef().elements();
    std::vector<c10::IValue> results;
    const at::NoGradGuard no_grad;
    for (int call = 0; call < (count > 4 ? std::stoi(words[4]) : 1); ++call) results.push_back(model.forward(inputs));
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
