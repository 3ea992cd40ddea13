#include "harness/model/equivalent_formulas.hpp"

#include <cmath>

namespace plumbline::equivalent {
namespace {

using at::Tensor;

// Rotation matrices of columns whose pairs are (i, i + Dh/2): (B, T, Dh, Dh).
Tensor rotation_matrices(const Tensor& angles) {
  const auto cos = at::diag_embed(angles.squeeze(2).cos()), sin = at::diag_embed(angles.squeeze(2).sin());
  return at::cat({at::cat({cos, -sin}, -1), at::cat({sin, cos}, -1)}, -2);
}

}  // namespace

// Multiplies by complex numbers of modulus 1 (Su et al. 2021, formula 12).
Tensor rotate_by_complex_product(const Tensor& x, const Tensor& angles, Rotary rotary) {
  const auto half = x.size(-1) / 2;
  const auto wide = x.to(angles.scalar_type());
  const auto pairs = rotary == Rotary::halves
                         ? at::stack({wide.narrow(-1, 0, half), wide.narrow(-1, half, half)}, -1)
                         : wide.unflatten(-1, at::IntArrayRef{half, 2});  // (B, T, heads, Dh/2, 2)
  const auto rotated =
      at::view_as_real(at::view_as_complex(pairs.contiguous()) * at::polar(at::ones_like(angles), angles));
  const auto joined = rotary == Rotary::halves ? at::cat({rotated.select(-1, 0), rotated.select(-1, 1)}, -1)
                                               : rotated.flatten(-2);
  return joined.to(x.scalar_type());
}

// x cos + rotate_half(x) sin, with cos and sin of Dh elements, as in transformers.
Tensor rotate_by_rotate_half(const Tensor& x, const Tensor& angles, Rotary rotary) {
  if (rotary == Rotary::pairs) return rotate(x, angles, rotary);
  const auto half = x.size(-1) / 2;
  const auto repeated = at::cat({angles, angles}, -1);
  const auto wide = x.to(angles.scalar_type());
  const auto rotated_half = at::cat({-wide.narrow(-1, half, half), wide.narrow(-1, 0, half)}, -1);
  return (wide * repeated.cos() + rotated_half * repeated.sin()).to(x.scalar_type());
}

Tensor rotate_by_matrix(const Tensor& x, const Tensor& angles, Rotary rotary) {
  const auto half = x.size(-1) / 2;
  const auto reordered = [&](const Tensor& from, std::int64_t rows) {
    return rotary == Rotary::halves
               ? from
               : from.unflatten(-1, at::IntArrayRef{rows, x.size(-1) / rows}).transpose(-1, -2).flatten(-2);
  };
  const auto rotated =
      at::matmul(reordered(x.to(angles.scalar_type()), half), rotation_matrices(angles).transpose(-1, -2));
  return reordered(rotated, 2).to(x.scalar_type());
}

// exp(i angle) of every position, computed once in float64 and rounded: (positions, Dh/2) complex.
Tensor complex_rotation_table(const Specification& s, at::ScalarType type, at::Device device) {
  const auto positions = at::arange(s.max_position_embeddings, at::TensorOptions().dtype(at::kDouble));
  const auto angles = at::outer(positions, rotary_frequencies(s, at::kDouble, at::kCPU));
  return at::polar(at::ones_like(angles), angles)
      .to(device, type == at::kDouble ? at::kComplexDouble : at::kComplexFloat);
}

Tensor rotation_table_rows(const Tensor& positions, const Tensor& table) {
  return at::embedding(at::view_as_real(table).flatten(1), positions)
      .unflatten(-1, at::IntArrayRef{table.size(1), 2})
      .unsqueeze(2);  // (B, T, 1, Dh/2, 2): cosine, sine
}

Tensor rotate_by_table_row(const Tensor& x, const Tensor& row, Rotary rotary) {
  const auto cos = row.select(-1, 0), sin = row.select(-1, 1);
  const auto wide = x.to(row.scalar_type());
  const auto pairs = rotary == Rotary::halves ? wide.unflatten(-1, at::IntArrayRef{2, -1}).unbind(-2)
                                              : wide.unflatten(-1, at::IntArrayRef{-1, 2}).unbind(-1);
  const auto rotated = at::stack({pairs[0] * cos - pairs[1] * sin, pairs[0] * sin + pairs[1] * cos},
                                 rotary == Rotary::halves ? -2 : -1);
  return rotated.flatten(-2).to(x.scalar_type());
}

Tensor rotate_by_complex_table_row(const Tensor& x, const Tensor& row, Rotary rotary) {
  const auto wide = x.to(row.scalar_type());
  const auto pairs = rotary == Rotary::halves ? wide.unflatten(-1, at::IntArrayRef{2, -1}).transpose(-1, -2)
                                              : wide.unflatten(-1, at::IntArrayRef{-1, 2});
  const auto rotated = at::view_as_real(at::view_as_complex(pairs.contiguous()) * at::view_as_complex(row));
  return (rotary == Rotary::halves ? rotated.transpose(-1, -2) : rotated).flatten(-2).to(x.scalar_type());
}

Tensor frequencies_from_float64(const Specification& s, at::ScalarType type, at::Device device) {
  return rotary_frequencies(s, at::kDouble, device).to(accumulation_type(type));
}

Tensor frequencies_in_float64(const Specification& s, at::ScalarType, at::Device device) {
  return rotary_frequencies(s, at::kDouble, device);
}

Tensor frequencies_by_exponential(const Specification& s, at::ScalarType type, at::Device device) {
  const auto size = s.head_size();
  const auto options = at::TensorOptions().dtype(accumulation_type(type)).device(device);
  return (at::arange(0, size, 2, options) * (-std::log(s.rope_theta) / static_cast<double>(size))).exp();
}

}  // namespace plumbline::equivalent
