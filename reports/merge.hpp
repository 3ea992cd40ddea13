// Merges several runs into one: `plumbline report merge`.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "harness/result/result.hpp"
#include "reports/collection.hpp"

namespace plumbline::reports {

// A document and where it comes from, "out/shard-2".
struct Source {
  std::string name;
  Result result;
};

// The document of one run, from those of all its shards: the same but for times, which are the earliest start
// and the sum of seconds. Errors: InputError naming the shard that is missing, doubled, of another run, or
// whose verdicts its own numbers do not bear out.
Result merge_shards(std::vector<Source> shards);

// Whole results beside each other. Errors: InputError naming what cannot stand there.
Collection collect(std::vector<Source> sources);

// The requirements of shard `index` of `of`: every `of`-th one, so that each is in exactly one shard and
// chapters are spread. Empty where there are more shards than requirements. Errors: InputError unless 1 <=
// index <= of.
std::vector<std::string> of_shard(const std::vector<std::string>& ids, const Shard& shard);

// "2/4". Errors: InputError for anything else.
Shard parse_shard(const std::string& text);

}  // namespace plumbline::reports
