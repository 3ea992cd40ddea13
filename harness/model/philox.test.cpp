#include "harness/model/philox.hpp"

#include <catch2/catch_test_macros.hpp>

using namespace plumbline;

TEST_CASE("philox: gives Random123's published words", "[model][philox]") {
  // Random123's kat_vectors, lines "philox 4x32 10".
  CHECK(philox({0, 0, 0, 0}, {0, 0}) == PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}) ==
        PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("philox: FNV-1a gives the published hashes, of bytes beyond ASCII too", "[model][philox]") {
  CHECK(fnv1a("") == 0x811c9dc5);
  CHECK(fnv1a("a") == 0xe40c292c);
  CHECK(fnv1a("foobar") == 0xbf9cf968);
  CHECK(fnv1a("\xc3\xbc") == 0x119dd44a);  // signed characters would be sign-extended
}

TEST_CASE("philox: a stream is keyed by name and seed and counts in 64 bits", "[model][philox]") {
  const PhiloxStream stream("model.norm.weight", 7);
  CHECK(stream.block(5) == philox({5, 0, 0, 0}, {fnv1a("model.norm.weight"), 7}));
  CHECK(stream.block((3ull << 32) + 5) == philox({5, 3, 0, 0}, {fnv1a("model.norm.weight"), 7}));
  CHECK(stream.block(5) != PhiloxStream("model.norm.weight", 8).block(5));
  CHECK(stream.block(5) != PhiloxStream("model.norm.weighu", 7).block(5));
}
