// Failures that somebody answers for, as data: who, why, and until when.
#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "harness/result/result.hpp"

namespace plumbline::reports {

// A waivers file: {"format": "plumbline-waivers", "version": 1, "waivers": [{"requirement", "reason", "who",
// "expires"}]}, schema: harness/result/waivers.schema.json, of at most 1 MiB. An expired waiver is read: the
// verdict says that it expired. Errors: InputError for a waiver without a reason or a name, of a day that no
// calendar has, of a requirement that is none of `requirements`, or that has one already.
std::vector<Waiver> read_waivers(const std::filesystem::path& file,
                                 const std::set<std::string>& requirements);

// What is wrong with the first of them that is wrong, "[2].expires is 2026-02-30, which is no day"; empty
// where nothing is.
std::string fault_of(const std::vector<Waiver>& waivers, const std::set<std::string>& requirements);

// Whether `text` is a day of the calendar, "2026-12-31".
bool is_day(const std::string& text);

}  // namespace plumbline::reports
