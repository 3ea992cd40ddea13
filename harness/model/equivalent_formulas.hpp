// Equivalent ways, found in published code, to compute the formulas of harness/model/formulas.hpp. Each type
// is that of the table entry of its name; harness/model/formula_variants.cpp lists the variants.
#pragma once

#include "harness/model/formulas.hpp"

namespace plumbline::equivalent {

// Attention.
using RepeatKv = at::Tensor(const at::Tensor& x, std::int64_t factor);
RepeatKv repeat_kv_by_index, repeat_kv_interleaved;

using AttentionScores = at::Tensor(const at::Tensor& q, const at::Tensor& keys, double scale);
AttentionScores scores_by_head, scores_by_query_block, scores_by_einsum, scores_by_keys_times_queries,
    scores_by_baddbmm, scores_of_scaled_queries, scores_of_scaled_queries_and_keys;

using Mask = at::Tensor(const MaskInputs& inputs);
Mask mask_with_unmasked_padding;

using ApplyMask = at::Tensor(const at::Tensor& scores, const at::Tensor& allowed);
ApplyMask apply_mask_by_minimum, apply_mask_by_addition, apply_mask_by_product, apply_mask_in_two_steps;

using Softmax = at::Tensor(const at::Tensor& scores);
Softmax softmax_by_exponentials, softmax_in_blocks, softmax_in_float64, softmax_base_two,
    softmax_by_logsumexp;

using WeighValues = at::Tensor(const at::Tensor& probabilities, const at::Tensor& values);
WeighValues weigh_values_by_head, weigh_values_by_query_block, weigh_values_by_einsum,
    weigh_values_transposed;

// Rotary embedding. Where a table is used, its rows are passed in place of the angles.
using Frequencies = at::Tensor(const Specification& s, at::ScalarType type, at::Device device);
Frequencies frequencies_from_float64, frequencies_in_float64, frequencies_by_exponential,
    complex_rotation_table;

at::Tensor rotation_table_rows(const at::Tensor& positions, const at::Tensor& table);

using Rotate = at::Tensor(const at::Tensor& x, const at::Tensor& angles, Rotary rotary);
Rotate rotate_by_complex_product, rotate_by_rotate_half, rotate_by_matrix, rotate_by_table_row,
    rotate_by_complex_table_row;

// The other parts of a layer.
using ReadParameter = at::Tensor(const Weights& weights, const std::string& name);
ReadParameter read_parameter_transposed;

using Norm = at::Tensor(const at::Tensor& x, const at::Tensor& weight, double eps, NormPrecision precision);
Norm norm_by_division, norm_fused, norm_in_float64, norm_by_vector_length, norm_weight_before_rounding;

using Linear = at::Tensor(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);
Linear linear_in_reverse_order, linear_in_two_sums, linear_by_output_halves, linear_in_float64,
    linear_by_einsum, linear_by_convolution, linear_transposed, linear_by_position_block;

using GatedUnit = at::Tensor(const at::Tensor& gate, const at::Tensor& up, Activation activation);
GatedUnit gated_unit_by_sigmoid, gated_unit_in_float32, gated_unit_by_exponentials;

using AddResidual = at::Tensor(const at::Tensor& residual, const at::Tensor& normed,
                               const at::Tensor& branch);
AddResidual add_residual_in_place;

// Training.
using Loss = at::Tensor(const at::Tensor& logits, const at::Tensor& labels);
Loss loss_by_log_softmax, loss_in_chunks, loss_by_shifted_labels, loss_by_mask;

using OptimiserStep = at::Tensor(const at::Tensor& parameter, const at::Tensor& gradient, Moments& moments,
                                 std::int64_t step, const AdamW& hyperparameters);
OptimiserStep adamw_by_lerp, adamw_in_one_expression;

// Sampling.
using TokenProbabilities = at::Tensor(const at::Tensor& logits, const at::Tensor& before, std::int64_t prompt,
                                      const Sampling& sampling);
TokenProbabilities probabilities_in_float32, probabilities_by_ascending_top_p;

double random_number_of_other_stream(std::uint32_t seed, std::uint64_t row, std::uint64_t step);

}  // namespace plumbline::equivalent
