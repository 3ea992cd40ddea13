// What this machine can do at best, so that a benchmark can say what share of it was reached.
#pragma once

namespace plumbline::benchmarks {

// The library's own products with MiniMind2-Small's matrices (as the model has them, not joined) for 512
// tokens, one after the other with nothing in between: floating-point operations a second. Measured anew at
// each call.
double matrix_rate();

// Reading far more memory than a model has, in huge pages, from one end to the other: bytes a second.
double read_rate();

// The same, measured once, when first asked for.
double known_matrix_rate();
double known_read_rate();

}  // namespace plumbline::benchmarks
