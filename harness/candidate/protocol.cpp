#include "harness/candidate/protocol.hpp"

#include <fmt/format.h>

#include "harness/evidence/safetensors.hpp"
#include "harness/system/error.hpp"
#include "harness/system/json.hpp"

namespace plumbline {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kLongestLine = 1 << 20;
constexpr std::size_t kShownErrors = 300;
constexpr std::chrono::seconds kGoodbyeTimeout{5};  // as protocol.md says

ChildLimits line_limits(ChildLimits limits) {
  limits.output_bytes = kLongestLine;
  limits.file_bytes = most_tensor_bytes();
  return limits;
}

// The last line with text, which in a Python traceback is the error.
std::string last_nonempty_line(const std::string& errors) {
  auto end = errors.find_last_not_of(" \n\r\t");
  if (end == std::string::npos) return "";
  const auto begin = errors.find_last_of('\n', end);
  return printable(errors.substr(begin == std::string::npos ? 0 : begin + 1, end - begin), kShownErrors);
}

std::string text_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != nullptr && found->is_string() ? printable(found->get<std::string>(), kShownErrors) : "";
}

}  // namespace

Channel::Channel(std::string name, const std::vector<std::string>& command, const ChildLimits& limits,
                 const Environment& environment, std::shared_ptr<RecordingWriter> recording)
    : name_(std::move(name)),
      recording_(std::move(recording)),
      conversation_(command, line_limits(limits), environment) {}

void Channel::fail(const std::string& how) {
  usable_ = false;
  const auto words = last_nonempty_line(conversation_.errors());
  throw CandidateFailed(fmt::format("{} {}{}", name_, how, words.empty() ? "" : "; it last wrote: " + words));
}

Reply Channel::ask(const std::string& request, Json fields, const NamedTensors& tensors) {
  fields["request"] = request;
  if (!recording_) return send(std::move(fields), tensors);
  const auto failed = [&](const char* kind, const std::exception& error) {
    recording_->add(fields, tensors, {{"error", {{"kind", kind}, {"message", error.what()}}}}, {});
  };
  try {
    auto reply = send(fields, tensors);
    recording_->add(fields, tensors, reply.fields, reply.tensors);
    return reply;
  } catch (const NotShown& error) {
    failed("cannot", error);
    throw;
  } catch (const CacheOverrun& error) {
    failed("overrun", error);
    throw;
  } catch (const CandidateFailed& error) {
    failed("failed", error);
    throw;
  }
}

Reply Channel::send(Json fields, const NamedTensors& tensors) {
  if (!usable_) throw CandidateFailed(fmt::format("{} is no longer running", name_));
  const auto id = ++requests_;
  const std::string request = fields.at("request").text();
  fields["id"] = id;
  if (request == "hello") fields["directory"] = directory_.path().string();
  if (!tensors.empty()) {
    const auto file = fmt::format("request-{}.safetensors", id);
    write_safetensors(directory_.path() / file, tensors, {}, AtomicFile::Durability::while_running);
    fields["tensors"] = file;
  }
  const auto begin = Clock::now();
  std::string line;
  try {
    line = conversation_.ask(fields.dump());
  } catch (const ChildEnded& ended) {
    waited_ += Clock::now() - begin;
    fail(fmt::format("{} ({})", ended.what(), request));
  }
  waited_ += Clock::now() - begin;
  return parse_reply(line, id);
}

Reply Channel::parse_reply(const std::string& line, std::int64_t id) {
  Reply reply;
  try {
    reply.fields = parse_json(line, "its reply");
  } catch (const InputError& error) {
    fail(fmt::format("answered '{}', which is not JSON: {}", printable(line, 80), error.what()));
  }
  const auto& fields = reply.fields;
  if (!fields.is_object() || !fields.contains("id") || fields["id"] != id)
    fail(fmt::format("answered '{}', expected a reply to request {}", printable(line, 80), id));
  if (const auto error = fields.find("error"); error != nullptr) {
    const auto kind = error->is_object() ? text_of(*error, "kind") : "";
    const auto message = error->is_object() ? text_of(*error, "message") : "";
    const auto where = error->is_object() ? text_of(*error, "where") : "";
    if (kind == "cannot") throw NotShown(message.empty() ? "the candidate cannot show it" : message);
    if (kind == "overrun") throw CacheOverrun(message);
    if (kind != "failed") fail(fmt::format("answered an error of unknown kind '{}'", kind));
    throw CandidateFailed(where.empty() ? fmt::format("{}: {}", name_, message)
                                        : fmt::format("{}: {}", where, message));
  }
  if (const auto seconds = fields.find("seconds"); seconds != nullptr && seconds->is_number())
    computed_ += std::chrono::duration<double>(std::max(0.0, seconds->get<double>()));
  reply.tensors = receive_tensors(fields);
  return reply;
}

Weights Channel::receive_tensors(const Json& reply) {
  const auto named = reply.find("tensors");
  if (named == nullptr || named->is_null()) return {};
  const auto file = named->is_string() ? named->get<std::string>() : "";
  if (file.empty() || file.find('/') != std::string::npos || file == "." || file == ".." ||
      file.find('\0') != std::string::npos)
    fail("did not name its tensors by the plain name of a file");
  const auto path = directory_.path() / file;
  Weights tensors;
  try {
    auto read = read_safetensors(path);
    for (auto& [name, values] : read.tensors) tensors.emplace(name, std::move(values));
  } catch (const InputError& error) {
    fail(fmt::format("sent tensors that cannot be read: {}", error.what()));
  }
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
  return tensors;
}

void Channel::close() {
  if (!usable_) return;
  try {
    conversation_.ask(Json{{"id", ++requests_}, {"request", "bye"}}.dump(), kGoodbyeTimeout);
    conversation_.wait_for_end(kGoodbyeTimeout);
  } catch (const std::exception&) {
    // All answers were received; errors at the end do not matter.
  }
  usable_ = false;
}

}  // namespace plumbline
