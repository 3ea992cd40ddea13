// Whole results of several candidates, devices or types beside each other.
#pragma once

#include <string>
#include <vector>

#include "harness/result/result.hpp"
#include "reports/bundle.hpp"

namespace plumbline::reports {

struct Collection {
  std::vector<Result> results;  // of one specification, by one version of Plumbline
};

// The worst of them: 1 if one does not conform, else 2 if one could not be judged, else 3 if one is
// incomplete, else 0.
int status_of(const Collection& collection);

// "2 of 3 conform to minimind2-small"
std::string verdict_of(const Collection& collection);

// Why these results cannot be put side by side; empty: they can.
std::string discord(const Collection& collection);

// {"format": "plumbline-collection", "version": 1, "results": [...]}, each as in result.json.
std::string to_json(const Collection& collection);

// Errors: InputError as of from_json, and for results that cannot stand beside each other.
Collection collection_from_json(const std::string& text, const std::string& path);
bool is_collection(const std::string& text);

// Whether the text names itself a collection or a result; it may still be damaged.
bool is_document(const std::string& text);

std::string to_markdown(const Collection& collection);  // candidate by requirement
std::string to_junit(const Collection& collection);     // a test case a candidate and requirement

const std::vector<Rendering<Collection>>& collection_renderings();

}  // namespace plumbline::reports
