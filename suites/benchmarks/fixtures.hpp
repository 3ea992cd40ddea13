// The model and tokens of the benchmarks, made at first use.
#pragma once

#include <filesystem>

#include "harness/model/engine.hpp"
#include "harness/model/model.hpp"

namespace plumbline::benchmarks {

const Specification& specification();  // MiniMind2-Small
const Weights& weights();              // the deterministic weights of `plumbline export`
const Model& model();
const Engine& engine();
Tokens tokens(std::int64_t batch, std::int64_t length);

// Floating-point operations of the matrix products with weights, head included, in a pass over these tokens.
double weight_operations(std::int64_t tokens);
// Floating-point operations of causal attention, without hidden keys, for a batch of sequences.
double attention_operations(std::int64_t batch, std::int64_t length);
// Bytes that decoding one token has to read: every parameter once.
double weight_bytes();

// A directory that is removed at the end of the program.
const std::filesystem::path& scratch();

}  // namespace plumbline::benchmarks
