// Statements to be signed: that this document was made, from what, and by which program. Nothing is signed
// here.
#include <fmt/format.h>

#include <algorithm>

#include "harness/result/json_text.hpp"
#include "harness/result/moments.hpp"
#include "harness/result/words.hpp"
#include "harness/system/files.hpp"
#include "harness/system/visible.hpp"
#include "reports/bundle.hpp"

namespace plumbline::reports {
namespace {

std::string named(const std::string& text, const char* fallback) {
  return text.empty() ? fallback : visible(text);
}

// A resource descriptor; its digest is left out where none is known.
Json resource(const std::string& name, const char* fallback, const std::string& sha256_digest) {
  Json one = {{"name", named(name, fallback)}};
  if (is_hexadecimal(sha256_digest, 64)) one["digest"] = {{"sha256", sha256_digest}};
  return one;
}

// The subjects: the candidate, if its files have a hash, and the document. Each needs a digest.
Json subjects(const Result& result) {
  Json list = Json::array();
  const Header& header = result.header;
  const auto add = [&](const std::string& name, const char* fallback, const std::string& digest) {
    if (is_hexadecimal(digest, 64)) list.push_back(resource(name, fallback, digest));
  };
  add("result.json", "", sha256(to_json(result)));
  add(header.candidate, "candidate", header.candidate_sha256);
  if (header.baseline) add(header.baseline->name, "baseline", header.baseline->sha256);
  return list;
}

Json statement(const Result& result, const char* predicate_type, Json predicate) {
  return {{"_type", "https://in-toto.io/Statement/v1"},
          {"subject", subjects(result)},
          {"predicateType", predicate_type},
          {"predicate", std::move(predicate)}};
}

Json specification(const Header& header) {
  return resource(header.specification, "specification", header.specification_sha256);
}

Json dependencies(const Header& header) {
  Json list = Json::array({specification(header)});
  list.push_back(resource(header.candidate, "candidate", header.candidate_sha256));
  if (header.baseline) list.push_back(resource(header.baseline->name, "baseline", header.baseline->sha256));
  if (header.commit && (is_hexadecimal(header.commit->id, 40) || is_hexadecimal(header.commit->id, 64)))
    list.push_back({{"name", "the candidate's repository"},
                    {"digest", {{"gitCommit", header.commit->id}}},
                    {"annotations", {{"clean", header.commit->clean}}}});
  return list;
}

}  // namespace

std::string to_statement(const Result& result) {
  Json passed = Json::array(), warned = Json::array(), failed = Json::array();
  for (const Requirement& one : result.requirements) {
    const bool decides = one.level == Level::must && waiver_of(result.header, one) == nullptr;
    if (one.verdict == Verdict::pass) passed.push_back(visible(one.id, 60));
    if (one.verdict == Verdict::fail) (decides ? failed : warned).push_back(visible(one.id, 60));
  }
  // The predicate knows no "incomplete": what is not shown to conform has not passed.
  const char* word = result.footer.status != 0 ? "FAILED" : warned.empty() ? "PASSED" : "WARNED";
  return dump(statement(result, "https://in-toto.io/attestation/test-result/v0.1",
                        {{"result", word},
                         {"configuration", Json::array({specification(result.header)})},
                         {"passedTests", std::move(passed)},
                         {"warnedTests", std::move(warned)},
                         {"failedTests", std::move(failed)}}));
}

std::string to_provenance(const Result& result) {
  const Header& header = result.header;
  Json external = {{"command", visible(header.command, 2000)},
                   {"candidate", visible(header.candidate)},
                   {"specification", visible(header.specification)},
                   {"scope", visible(header.scope)}};
  if (header.shard) external["shard"] = in_words(*header.shard);
  Json versions = {{"plumbline", visible(header.plumbline_version, 80)}};
  for (const auto& [name, version] : header.versions) versions[visible(name, 60)] = visible(version, 80);
  Json metadata = Json::object();
  if (milliseconds_of(header.started)) metadata["startedOn"] = header.started;
  if (const auto end = end_of(result)) metadata["finishedOn"] = moment_of(*end);
  return dump(statement(result, "https://slsa.dev/provenance/v1",
                        {{"buildDefinition",
                          {{"buildType", "urn:plumbline:verification:v1"},
                           {"externalParameters", std::move(external)},
                           {"internalParameters",
                            {{"device", visible(header.device)},
                             {"dtype", visible(header.dtype)},
                             {"threads", header.threads},
                             {"seed", header.seed}}},
                           {"resolvedDependencies", dependencies(header)}}},
                         {"runDetails",
                          {{"builder", {{"id", "urn:plumbline:verifier"}, {"version", std::move(versions)}}},
                           {"metadata", std::move(metadata)}}}}));
}

}  // namespace plumbline::reports
