// The machine's peak rates, with which benchmarks are compared.
#pragma once

namespace plumbline::benchmarks {

// Floating-point operations per second of LibTorch's products with MiniMind2-Small's matrices for 512 tokens.
// Measured anew at each call.
double matrix_rate();

// Bytes per second of sequential reads of memory in huge pages, far more than a model has.
double read_rate();

// The same, measured once at first use.
double known_matrix_rate();
double known_read_rate();

}  // namespace plumbline::benchmarks
