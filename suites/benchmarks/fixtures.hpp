// What the benchmarks run on, made when it is first asked for.
#pragma once

#include <filesystem>

#include "harness/model/engine.hpp"
#include "harness/model/model.hpp"

namespace plumbline::benchmarks {

const Specification& specification();  // MiniMind2-Small
const Weights& weights();              // its deterministic ones, as `plumbline export` writes them
const Model& model();
const Engine& engine();
Tokens tokens(std::int64_t batch, std::int64_t length);

// Multiplications and additions in the matrix products with weights, head included, of a pass over so many
// tokens.
double weight_operations(std::int64_t tokens);
// The same in attention, of which the future's half is left out, for a batch of sequences.
double attention_operations(std::int64_t batch, std::int64_t length);
// What decoding one token has to read: every parameter once.
double weight_bytes();

// A directory that is removed at the end of the program.
const std::filesystem::path& scratch();

}  // namespace plumbline::benchmarks
