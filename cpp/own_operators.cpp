// The operators of trt_passes' own that the graphs of segments call: those of compiler/ir/operators.py.
#include <optional>

#include <ATen/ATen.h>
#include <torch/library.h>

namespace {

// A scale in a shape that broadcasts with data of some shape: blocks are repeated.
at::Tensor spread(at::Tensor scale, at::IntArrayRef shape) {
  const auto rank = static_cast<int64_t>(shape.size());
  if (scale.dim() == 0 || rank == 0) return scale.reshape(std::vector<int64_t>(shape.size(), 1));
  TORCH_CHECK(scale.dim() == rank, "scales of rank ", scale.dim(), " do not fit data of rank ", rank);
  for (int64_t dim = 0; dim < rank; ++dim) {
    const int64_t size = shape[dim], blocks = scale.size(dim);
    if (blocks == 1 || blocks == size) continue;
    TORCH_CHECK(blocks > 0 && size % blocks == 0, blocks, " blocks do not divide ", size, ", the size of dimension ",
                dim);
    scale = scale.repeat_interleave(size / blocks, dim);
  }
  return scale;
}

at::Tensor quantize(const at::Tensor& input, const at::Tensor& scale, const std::optional<at::Tensor>& zero_point,
                    int64_t low, int64_t high, at::ScalarType dtype) {
  const at::Tensor scaled = input.to(at::kFloat) * spread(scale.to(at::kFloat), input.sizes()).reciprocal();
  if (at::isFloatingType(dtype)) {
    TORCH_CHECK(dtype == at::ScalarType::Float8_e4m3fn, "numbers are not quantised to ", dtype);
    return scaled.clamp(-448, 448).to(dtype).contiguous();
  }
  at::Tensor rounded = scaled.round();
  if (zero_point.has_value()) rounded = rounded + spread(zero_point->to(at::kFloat), input.sizes());
  return rounded.clamp(low, high).to(dtype).contiguous();
}

at::Tensor dequantize(const at::Tensor& input, const at::Tensor& scale, const std::optional<at::Tensor>& zero_point,
                      at::ScalarType dtype) {
  at::Tensor values = input.to(at::kFloat);
  if (zero_point.has_value()) values = values - spread(zero_point->to(at::kFloat), input.sizes());
  return (values * spread(scale.to(at::kFloat), input.sizes())).to(dtype).contiguous();
}

// Two numbers of four bits in each byte, the first in its lower half: whole numbers, or those of e2m1.
at::Tensor dequantize_packed(const at::Tensor& packed, const at::Tensor& scale, c10::string_view kind, double factor,
                             at::ScalarType dtype) {
  const at::Tensor codes =
      at::stack({packed.bitwise_and(15), packed.bitwise_right_shift(at::Scalar(4))}, -1).flatten(-2).to(at::kInt);
  at::Tensor numbers;
  if (kind == "fp4") {
    const at::Tensor sizes = at::tensor({0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0}, scale.options().dtype(at::kFloat));
    numbers = at::cat({sizes, sizes.neg()}).index_select(0, codes.flatten()).reshape(codes.sizes());
  } else {
    TORCH_CHECK(kind == "int4", "numbers of four bits are int4 or fp4, not ", kind);
    numbers = codes.bitwise_xor(8).sub(8).to(at::kFloat);
  }
  return (numbers * spread(scale.to(at::kFloat) * factor, numbers.sizes())).to(dtype).contiguous();
}

at::Tensor write_rows(const at::Tensor& cache, const at::Tensor& rows, const at::Tensor& start) {
  return cache.index_copy(2, start + at::arange(rows.size(2), start.options()), rows);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(trt_passes, library) {
  library.def(
      "quantize(Tensor input, Tensor scale, Tensor? zero_point, int low, int high, ScalarType dtype) -> Tensor");
  library.def("dequantize(Tensor input, Tensor scale, Tensor? zero_point, ScalarType dtype) -> Tensor");
  library.def(
      "dequantize_packed(Tensor packed, Tensor scale, str kind, float factor, ScalarType dtype) -> Tensor");
  library.def("write_rows(Tensor cache, Tensor rows, Tensor start) -> Tensor");
}

TORCH_LIBRARY_IMPL(trt_passes, CompositeExplicitAutograd, library) {
  library.impl("quantize", quantize);
  library.impl("dequantize", dequantize);
  library.impl("dequantize_packed", dequantize_packed);
  library.impl("write_rows", write_rows);
}
