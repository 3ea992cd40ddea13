#include <fmt/format.h>

#include <iostream>
#include <optional>

#include "harness/candidate/recorded_answers.hpp"
#include "harness/candidate/recording.hpp"
#include "harness/candidate/recording_format.hpp"
#include "harness/evidence/safetensors.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"

namespace plumbline {
namespace {

namespace fs = std::filesystem;

Json error_reply(const std::string& kind, const std::string& message) {
  return {{"error", {{"kind", kind}, {"message", message}}}};
}

// Errors: InputError where the recording was made to be judged otherwise than `hello` asks.
void check_hello(const Json& asked, const Json& hello) {
  if (asked.value("specification", Json()) != hello.value("specification", Json()))
    throw InputError(
        fmt::format("was recorded for the specification '{0}', not '{1}'; use --spec {0}",
                    printable(asked.value("specification", Json::object()).value("name", "?"), 60),
                    printable(hello.value("specification", Json::object()).value("name", "?"), 60)));
  if (asked.value("dtype", "") != hello.value("dtype", ""))
    throw InputError(fmt::format("was recorded in {}, not in {}; use --dtype {}",
                                 printable(asked.value("dtype", "?"), 20), hello.value("dtype", "?"),
                                 asked.value("dtype", "") == "bfloat16" ? "bf16" : "f32"));
  // Recordings made before there was a choice have the seed 1.
  const auto seed_of = [](const Json& request) { return request.value("seed", Json(1)).dump(); };
  if (seed_of(asked) != seed_of(hello))
    throw InputError(fmt::format("was recorded with the seed {0}, not {1}; use --seed {0}",
                                 printable(seed_of(asked), 20), printable(seed_of(hello), 20)));
}

// The recorded reply to what has this key, its tensors written to a file in `directory`.
Json recorded_reply(RecordedAnswers& recording, const std::string& key, const Json& request,
                    const fs::path& directory) {
  const auto* exchange = recording.answer(key);
  if (exchange == nullptr)
    return error_reply("cannot",
                       "the recording has no answer to this request; record the model again, with this "
                       "version and the same options");
  Json reply = (*exchange)["reply"];
  NamedTensors tensors;
  if (exchange->contains("tensors"))
    for (const auto& [name, hash] : (*exchange)["tensors"].items())
      tensors.emplace_back(name, recording.tensor(hash.is_string() ? hash.get<std::string>() : ""));
  if (!tensors.empty()) {
    const auto file = fmt::format("played-{}.safetensors", request.value("id", 0));
    write_safetensors(directory / file, tensors, {}, AtomicFile::Durability::while_running);
    reply["tensors"] = file;
  }
  return reply;
}

// Answers one request after the other as the recording has it.
class Player {
 public:
  explicit Player(const fs::path& path) {
    try {
      recording_.emplace(path);
    } catch (const InputError& error) {
      why_unusable_ = error.what();
    }
  }

  Json answer(const Json& request) {
    if (request_name(request) == "hello") directory_ = request.value("directory", "");
    Json reply = Json::object();
    try {
      if (!recording_) throw InputError(why_unusable_);
      answer_into(reply, request);
    } catch (const InputError& error) {
      reply = error_reply("failed", error.what());
    }
    reply["id"] = request.value("id", 0);
    return reply;
  }

 private:
  void answer_into(Json& reply, const Json& request) {
    const auto name = request_name(request);
    if (name == "hello") check_hello(recording_->hello_request(), request);
    NamedTensors tensors;
    if (request.contains("tensors"))
      tensors = read_safetensors(directory_ / request["tensors"].get<std::string>()).tensors;
    const auto key = dialogue_.key(request, tensors);
    if (name != "bye" && name != "close_cache") reply = recorded_reply(*recording_, key, request, directory_);
    if (name == "open_cache" && reply.contains("cache")) reply["cache"] = ++caches_opened_;
    if (!reply.contains("error")) dialogue_.record_answer(request, key, reply);
  }

  std::optional<RecordedAnswers> recording_;
  std::string why_unusable_;
  DialogueState dialogue_;
  fs::path directory_;  // where tensors are exchanged
  std::int64_t caches_opened_ = 0;
};

}  // namespace

void play_recording(const fs::path& path) {
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  Player player(path);
  for (std::string line; std::getline(std::cin, line);) {
    const auto request = parse_json(line, "request");
    std::cout << player.answer(request).dump({.ascii = true}) << std::endl;
    if (request_name(request) == "bye") return;
  }
}

}  // namespace plumbline
