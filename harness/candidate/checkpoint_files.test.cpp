#include "harness/candidate/checkpoint_files.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include "harness/evidence/safetensors.hpp"
#include "harness/system/child.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"

using namespace plumbline;
namespace fs = std::filesystem;
using Catch::Matchers::ContainsSubstring;

namespace {

constexpr const char* scripts = PLUMBLINE_SOURCE_DIR "/harness/python";

CheckpointFiles read(const fs::path& path) {
  return read_checkpoint(path, PLUMBLINE_PYTHON, scripts);
}

std::string refusal(const fs::path& path, const std::string& python = PLUMBLINE_PYTHON,
                    const std::string& script_directory = scripts) {
  try {
    read_checkpoint(path, python, script_directory);
  } catch (const InputError& error) {
    const std::string message = error.what();
    CHECK(message.find_first_of("\n\x1b") == std::string::npos);
    return message;
  }
  return "accepted";
}

// A checkpoint to be filled.
struct Place {
  TemporaryDirectory root;
  fs::path directory = root.path() / "model";
  Place() { fs::create_directory(directory); }

  fs::path at(const std::string& name) const { return directory / name; }
  void text(const std::string& name, const std::string& content) const {
    write_atomically(at(name), content);
  }
  void config() const { text("config.json", R"({"vocab_size": 7})"); }
  void weights(const std::string& file, const std::vector<std::string>& names) const {
    std::vector<std::pair<std::string, at::Tensor>> tensors;
    for (const std::string& name : names) tensors.emplace_back(name, at::full({2}, double(tensors.size())));
    write_safetensors(at(file), tensors);
  }
  void index(const std::string& weight_map) const {
    text("model.safetensors.index.json",
         R"({"metadata": {"total_size": 1}, "weight_map": )" + weight_map + "}");
  }
  // Runs `script` in the directory, with torch imported, which takes seconds. There, `reason(file)` is what
  // the reader of state dicts says of a file: its error, or its notes.
  std::string python(const std::string& script) const {
    const std::string prelude = R"(
import os, sys, warnings, torch
warnings.simplefilter("ignore")
os.chdir(sys.argv[1])
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[2])
import read_state_dict
def reason(file):
    try:
        return " | ".join(read_state_dict.convert(file, "out.safetensors"))
    except read_state_dict.Refused as error:
        return str(error)
)";
    const ChildResult result =
        run_child({PLUMBLINE_PYTHON, "-c", prelude + script, directory.string(), scripts}, {});
    INFO(result.errors);
    REQUIRE(result.succeeded());
    return result.output;
  }
};

std::vector<std::string> names_of(const CheckpointFiles& files) {
  std::vector<std::string> names;
  for (const NamedTensor& tensor : files.tensors) names.push_back(tensor.name);
  return names;
}

std::string notes_of(const CheckpointFiles& files) {
  return fmt::format("{}", fmt::join(files.notes, "\n"));
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("checkpoint: a directory with one file gives its config and its tensors by name",
          "[candidate][checkpoint]") {
  const Place place;
  place.config();
  place.weights("model.safetensors", {"b", "a", "c"});
  const CheckpointFiles files = read(place.directory);
  REQUIRE(files.config.has_value());
  CHECK((*files.config)["vocab_size"] == 7);
  CHECK(files.config_path == place.at("config.json").string());
  CHECK(names_of(files) == Names{"a", "b", "c"});
  CHECK(files.tensors[0].values[0].item<float>() == 1);
  CHECK(files.notes.empty());
  const std::string summary =
      fmt::format("config.json{0}{1}\nmodel.safetensors{0}{2}\n", '\0',
                  sha256_of_file(place.at("config.json")), sha256_of_file(place.at("model.safetensors")));
  CHECK(files.sha256 == sha256(summary));
}

TEST_CASE("checkpoint: shards are read as their index has them", "[candidate][checkpoint]") {
  const Place place;
  place.config();
  place.weights("x-1.safetensors", {"b"});
  place.weights("x-2.safetensors", {"a", "c"});
  place.weights("consolidated.safetensors", {"z"});
  place.index(R"({"a": "x-2.safetensors", "b": "x-1.safetensors", "c": "x-2.safetensors"})");
  const CheckpointFiles files = read(place.directory);
  CHECK(names_of(files) == Names{"a", "b", "c"});
  CHECK(notes_of(files) == "not named in the index and not read: consolidated.safetensors");
}

TEST_CASE("checkpoint: the hash is of every file's name and content", "[candidate][checkpoint]") {
  const Place place;
  place.config();
  place.weights("x-1.safetensors", {"a"});
  place.index(R"({"a": "x-1.safetensors"})");
  const std::string before = read(place.directory).sha256;
  CHECK(read(place.directory).sha256 == before);
  place.index(R"( {"a": "x-1.safetensors"})");
  CHECK(read(place.directory).sha256 != before);
  place.index(R"({"a": "x-1.safetensors"})");
  place.text("config.json", "{}");
  CHECK(read(place.directory).sha256 != before);
}

TEST_CASE("checkpoint: an index that contradicts its shards is refused, by name", "[candidate][checkpoint]") {
  const Place place;
  place.config();
  place.weights("x-1.safetensors", {"a"});
  place.weights("x-2.safetensors", {"b", "c"});
  const auto with = [&](const std::string& weight_map) {
    place.index(weight_map);
    return refusal(place.directory);
  };
  CHECK(with(R"({"a":"x-1.safetensors","b":"x-2.safetensors","c":"x-2.safetensors"})") == "accepted");
  CHECK_THAT(with(R"({"a":"x-1.safetensors","b":"x-2.safetensors"})"),
             ContainsSubstring("does not list tensor \"c\", which is in x-2.safetensors"));
  CHECK_THAT(
      with(R"({"a":"x-1.safetensors","b":"x-2.safetensors","c":"x-2.safetensors","d":"x-2.safetensors"})"),
      ContainsSubstring("tensor \"d\" is not in x-2.safetensors, where the index has it"));
  CHECK_THAT(with(R"({"a":"x-1.safetensors","b":"x-2.safetensors","c":"x-1.safetensors"})"),
             ContainsSubstring("tensor \"c\" is not in x-1.safetensors") &&
                 ContainsSubstring("it is in x-2.safetensors"));
  CHECK_THAT(with(R"({"a":"x-1.safetensors","b":"x-3.safetensors"})"),
             ContainsSubstring("names the shard x-3.safetensors, which is not there"));
  place.weights("x-1.safetensors", {"a", "b"});
  CHECK_THAT(with(R"({"a":"x-1.safetensors","b":"x-2.safetensors","c":"x-2.safetensors"})"),
             ContainsSubstring("tensor \"b\" is in two shards, x-1.safetensors and x-2.safetensors"));
}

TEST_CASE("checkpoint: a shard's name leads nowhere but into the directory", "[candidate][checkpoint]") {
  const Place place;
  place.config();
  place.weights("x.safetensors", {"a"});
  fs::copy(place.at("x.safetensors"), place.root.path() / "x.safetensors");
  fs::create_directory(place.at("d.safetensors"));
  for (const char* shard : {R"("../x.safetensors")", R"("/tmp/x.safetensors")", R"("sub/x.safetensors")",
                            R"("..\\x.safetensors")", R"("..safetensors")", R"("")", R"("x.bin")", "7",
                            "null", R"(["x.safetensors"])", R"("a\nx.safetensors")", R"("config.json")"}) {
    INFO(shard);
    place.index(fmt::format(R"({{"a":{}}})", shard));
    CHECK_THAT(refusal(place.directory), ContainsSubstring("tensor \"a\" is said to be in") &&
                                             ContainsSubstring("plain name of a .safetensors file"));
  }
  place.index(R"({"a":"d.safetensors"})");
  CHECK_THAT(refusal(place.directory), ContainsSubstring("which is not there"));
}

TEST_CASE("checkpoint: an index without a weight map is refused", "[candidate][checkpoint]") {
  const Place place;
  place.config();
  place.weights("x.safetensors", {"a"});
  for (const char* index : {"[]", "{}", R"({"weight_map": []})", R"({"weight_map": {}})"}) {
    place.text("model.safetensors.index.json", index);
    CHECK_THAT(refusal(place.directory), ContainsSubstring("index.json: has no \"weight_map\""));
  }
  place.index(R"({"a": "x.safetensors", "a": "x.safetensors"})");
  CHECK_THAT(refusal(place.directory), ContainsSubstring("the key \"a\" stands twice"));
}

TEST_CASE("checkpoint: a directory that is no checkpoint is refused with what is there",
          "[candidate][checkpoint]") {
  const Place place;
  CHECK_THAT(refusal(place.directory),
             ContainsSubstring("model: is empty; expected a directory with config.json"));
  place.weights("model.safetensors", {"a"});
  CHECK_THAT(refusal(place.directory), ContainsSubstring("has no config.json, only model.safetensors"));
  place.config();
  CHECK(refusal(place.directory) == "accepted");
  place.weights("other.safetensors", {"b"});
  CHECK_THAT(refusal(place.directory),
             ContainsSubstring("has 2 .safetensors files (model.safetensors, other.safetensors) and "
                               "no model.safetensors.index.json"));
  fs::remove(place.at("other.safetensors"));
  place.index(R"({"a":"model.safetensors"})");
  CHECK_THAT(refusal(place.directory), ContainsSubstring("contradicts itself"));
  fs::remove(place.at("model.safetensors.index.json"));
  fs::remove(place.at("model.safetensors"));
  place.text("tokenizer.json", "{}");
  CHECK_THAT(refusal(place.directory), ContainsSubstring("has no model: expected model.safetensors") &&
                                           ContainsSubstring("there is config.json, tokenizer.json"));
}

TEST_CASE("checkpoint: a config that is no JSON object is refused", "[candidate][checkpoint]") {
  const Place place;
  place.weights("model.safetensors", {"a"});
  place.text("config.json", "[]");
  CHECK_THAT(refusal(place.directory), ContainsSubstring("config.json: is not an object"));
  place.text("config.json", R"({"a": 1, "a": 2})");
  CHECK_THAT(refusal(place.directory), ContainsSubstring("config.json: the key \"a\" stands twice"));
  place.text("config.json", "");
  CHECK_THAT(refusal(place.directory), ContainsSubstring("config.json: not valid JSON"));
  fs::resize_file(place.at("config.json"), 20 << 20);
  CHECK_THAT(refusal(place.directory), ContainsSubstring("config.json: is larger than 16777216 bytes"));
}

TEST_CASE("checkpoint: a path that leads to nothing known is refused with what was expected",
          "[candidate][checkpoint]") {
  const Place place;
  CHECK_THAT(refusal(place.at("none")), ContainsSubstring("none: does not exist; expected a directory with"));
  place.text("model.gguf", "GGUF");
  CHECK_THAT(
      refusal(place.at("model.gguf")),
      ContainsSubstring("model.gguf: is GGUF, the format of llama.cpp, which is not read; convert it"));
  place.text("model.txt", "words");
  CHECK_THAT(refusal(place.at("model.txt")),
             ContainsSubstring("is no kind of checkpoint that is known; expected"));
  CHECK_THAT(refusal("/dev/null"), ContainsSubstring("is no kind of checkpoint"));
  write_safetensors(place.at("a.safetensors"), {});
  CHECK_THAT(refusal(place.at("a.safetensors")), ContainsSubstring("a.safetensors: holds no tensors"));
  fs::create_symlink(place.at("none"), place.at("dangling.safetensors"));
  CHECK_THAT(refusal(place.at("dangling.safetensors")), ContainsSubstring("does not exist"));
}

TEST_CASE("checkpoint: a lone .safetensors file has no config, and one beside it is pointed out",
          "[candidate][checkpoint]") {
  const Place place;
  place.weights("m.safetensors", {"a"});
  const CheckpointFiles alone = read(place.at("m.safetensors"));
  CHECK_FALSE(alone.config.has_value());
  CHECK(alone.config_path.empty());
  CHECK(alone.notes.empty());
  place.config();
  CHECK_THAT(notes_of(read(place.at("m.safetensors"))), ContainsSubstring("pass the directory"));
  CHECK(notes_of(read(place.directory)) == "the model was read from m.safetensors");
}

TEST_CASE("checkpoint: what wrappers put before the names is taken off", "[candidate][checkpoint]") {
  const Place place;
  place.weights("m.safetensors",
                {"_orig_mod.module.b", "module._orig_mod.module.a", "c.module.d", "module."});
  const CheckpointFiles files = read(place.at("m.safetensors"));
  CHECK(names_of(files) == Names{"a", "b", "c.d", "module."});
  CHECK(notes_of(files) == "the wrapper's \"_orig_mod.\" and \"module.\" was taken out of 3 of 4 names");
  place.weights("m.safetensors", {"module.a", "a"});
  CHECK_THAT(refusal(place.at("m.safetensors")),
             ContainsSubstring("\"module.a\" and \"a\" are the same name"));
}

TEST_CASE("checkpoint: a state dict keeps its types, its tied tensors and nothing else",
          "[candidate][checkpoint]") {
  const Place place;
  place.python(R"(
t = torch.arange(6.0).reshape(2, 3)
torch.save({"half": t.half(), "tied": t, "tied2": t, "row": t[1], "turned": t.t(), "count": torch.tensor(3),
            "brain": torch.nn.Parameter(t.bfloat16()), "none": torch.empty(0, 2), "epoch": 7, "who": "me"}, "a.pth")
)");
  const CheckpointFiles files = read(place.at("a.pth"));
  CHECK(names_of(files) == Names{"brain", "count", "half", "none", "row", "tied", "tied2", "turned"});
  const at::Tensor expected = at::arange(6.0, at::kFloat).reshape({2, 3});
  CHECK(files.tensors[0].values.scalar_type() == at::kBFloat16);
  CHECK(files.tensors[1].values.item<std::int64_t>() == 3);
  CHECK(files.tensors[2].values.scalar_type() == at::kHalf);
  CHECK(at::equal(files.tensors[2].values, expected.to(at::kHalf)));
  CHECK(at::equal(files.tensors[4].values, expected[1]));
  CHECK(at::equal(files.tensors[5].values, expected));
  CHECK(at::equal(files.tensors[6].values, expected));
  CHECK(at::equal(files.tensors[7].values, expected.t()));
  CHECK_THAT(notes_of(files), ContainsSubstring("a.pth is a pickle") &&
                                  ContainsSubstring("not tensors, left out: epoch (int), who (str)"));
  CHECK(files.sha256 == sha256(fmt::format("a.pth{}{}\n", '\0', sha256_of_file(place.at("a.pth")))));
}

TEST_CASE("checkpoint: a state dict within what a trainer saves is found, or refused if there are two",
          "[candidate][checkpoint]") {
  const Place place;
  const std::string said = place.python(R"(
state = {"_orig_mod.a": torch.ones(2), "module.b": torch.ones(2)}
torch.save({"model": {"state_dict": state}, "optimizer": {"x": 1}, "epoch": 3}, "deep.bin")
torch.save({"model": state, "module": state}, "two.pth")
torch.save({"model": {"model": {"model": {"model": {"model": state}}}}}, "endless.pth")
torch.save([1, 2], "list.pth")
torch.save({"epoch": 3}, "without.pth")
torch.save({"model": state}, "old.pt", _use_new_zipfile_serialization=False)
for file in ("two.pth", "endless.pth", "list.pth", "without.pth", "old.pt"):
    print(file, reason(file))
)");
  const CheckpointFiles files = read(place.at("deep.bin"));
  CHECK(names_of(files) == Names{"a", "b"});
  CHECK_THAT(notes_of(files), ContainsSubstring("under \"model\"; beside it, not read: optimizer, epoch") &&
                                  ContainsSubstring("under \"state_dict\"") &&
                                  ContainsSubstring("2 of 2 names"));
  CHECK_THAT(said, ContainsSubstring("two.pth holds several dicts that could be the model: model, module"));
  CHECK_THAT(said, ContainsSubstring("endless.pth wraps its state dict more than 4 times"));
  CHECK_THAT(said, ContainsSubstring("list.pth holds a list, expected a dict"));
  CHECK_THAT(said, ContainsSubstring("without.pth holds no tensors"));
  CHECK_THAT(said, ContainsSubstring("old.pt the state dict was taken from under \"model\"\n"));
}

TEST_CASE("checkpoint: a directory with pytorch_model.bin alone is read, and noted",
          "[candidate][checkpoint]") {
  const Place place;
  place.config();
  place.python("torch.save({'a': torch.ones(2)}, 'pytorch_model.bin')");
  const CheckpointFiles files = read(place.directory);
  CHECK(files.config.has_value());
  CHECK(names_of(files) == Names{"a"});
  CHECK_THAT(notes_of(files), ContainsSubstring("pytorch_model.bin is a pickle"));
  place.weights("model.safetensors", {"b"});
  const CheckpointFiles safe = read(place.directory);
  CHECK(names_of(safe) == Names{"b"});
  CHECK_THAT(notes_of(safe), ContainsSubstring("pytorch_model.bin beside the .safetensors was not read"));
}

TEST_CASE("checkpoint: a pickle with code in it is refused and its code is not run",
          "[candidate][checkpoint]") {
  const Place place;
  const std::string said = place.python(R"(
import pickle
class Evil:
    def __reduce__(self):
        return os.system, ("touch " + os.getcwd() + "/marker",)
torch.save({"a": Evil()}, "zip.pth")
torch.save({"a": Evil()}, "legacy.pth", _use_new_zipfile_serialization=False)
pickle.dump({"a": Evil()}, open("raw2.pth", "wb"), protocol=2)
pickle.dump({"a": Evil()}, open("raw.pth", "wb"))
torch.save(torch.nn.Linear(2, 2), "module.pth")
torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), "script.pth")
for file in ("legacy.pth", "raw2.pth", "raw.pth", "module.pth", "script.pth"):
    print(file, reason(file))
)");
  const std::string refused = "contains objects that only executing its code could read; refused";
  CHECK_THAT(refusal(place.at("zip.pth")), ContainsSubstring("zip.pth: " + refused + " (posix.system)"));
  CHECK_THAT(said, ContainsSubstring("legacy.pth " + refused + " (posix.system)"));
  CHECK_THAT(said, ContainsSubstring("raw2.pth " + refused + " (posix.system)"));
  CHECK_THAT(said, ContainsSubstring("raw.pth is not a state dict that torch.save wrote"));
  CHECK_THAT(said, ContainsSubstring("module.pth " + refused + " (torch.nn.modules.linear.Linear)"));
  CHECK_THAT(said, ContainsSubstring("script.pth is a TorchScript archive"));
  CHECK_FALSE(fs::exists(place.at("marker")));
}

TEST_CASE("checkpoint: tensors that are not plain are refused by name", "[candidate][checkpoint]") {
  const Place place;
  const std::string said = place.python(R"(
t = torch.ones(4)
strange = {"quantised": torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), "sparse": t.to_sparse(),
           "float8": t.to(torch.float8_e4m3fn), "meta": t.to("meta")}
for name, tensor in strange.items():
    torch.save({name: tensor}, "a.pth")
    print(reason("a.pth"))
torch.save({7: t}, "number.pth")
print(reason("number.pth"))
torch.save({"q": torch.ones(1).expand(1 << 20, 1 << 20)}, "bomb.pth")
torch.save({"q\x1b[31m\n": t}, "control.pth")
)");
  CHECK_THAT(said, ContainsSubstring("tensor \"quantised\" is quantised"));
  CHECK_THAT(said, ContainsSubstring("tensor \"sparse\" is torch.sparse_coo"));
  CHECK_THAT(said, ContainsSubstring("is quantised (fp8, 8-bit floating point): tensor \"float8\" is of"));
  CHECK_THAT(said, ContainsSubstring("tensor \"meta\" is on the meta device"));
  CHECK_THAT(said, ContainsSubstring("holds a tensor under 7"));
  CHECK_THAT(refusal(place.at("bomb.pth")),
             ContainsSubstring("bomb.pth: cannot be converted within the limits"));
  CHECK_THAT(refusal(place.at("control.pth")), ContainsSubstring("tensor \"q?[31m?\": a name must be"));
}

TEST_CASE("checkpoint: a state dict that is damaged is refused", "[candidate][checkpoint]") {
  const Place place;
  const std::string said = place.python(R"(
torch.save({"a": torch.ones(1000)}, "zip.pth")
torch.save({"a": torch.ones(1000)}, "legacy.pth", _use_new_zipfile_serialization=False)
for name in ("zip", "legacy"):
    data = open(f"{name}.pth", "rb").read()
    for part in (1, 2, 3, 4):
        open(f"{name}{part}.pth", "wb").write(data[: len(data) * part // 4 - 1])
        print(f"{name}{part}.pth", reason(f"{name}{part}.pth"))
)");
  for (const char* name : {"zip1", "zip2", "zip3", "zip4", "legacy1", "legacy2", "legacy3", "legacy4"}) {
    CHECK_THAT(said, ContainsSubstring(fmt::format(
                         "{}.pth is not a state dict that torch.save wrote, or is truncated", name)));
  }
  CHECK_THAT(refusal(place.at("zip3.pth")),
             ContainsSubstring("zip3.pth: is not a state dict that torch.save wrote, or"));
  place.text("empty.pth", "");
  CHECK_THAT(refusal(place.at("empty.pth")), ContainsSubstring("is empty, expected a state dict"));
  place.text("pointer.pth", "version https://git-lfs.github.com/spec/v1\noid sha256:00\n");
  CHECK_THAT(refusal(place.at("pointer.pth")), ContainsSubstring("git lfs pull"));
  fs::resize_file(place.at("zip.pth"), std::uintmax_t{1} << 42);
  CHECK_THAT(refusal(place.at("zip.pth")), ContainsSubstring("has 4398046511104 bytes, more than the"));
}

TEST_CASE("checkpoint: a reader of state dicts that does not work is told by what it said",
          "[candidate][checkpoint]") {
  const Place place;
  place.text("a.pth", "x");
  const std::string folder = place.directory.string();
  CHECK_THAT(refusal(place.at("a.pth"), "/no/python"), ContainsSubstring("/no/python: cannot be run"));
  CHECK_THAT(refusal(place.at("a.pth"), PLUMBLINE_PYTHON, "/no"),
             ContainsSubstring("ended with status 2 and reported nothing"));
  const auto with_script = [&](const std::string& script) {
    place.text("read_state_dict.py", script);
    return refusal(place.at("a.pth"), PLUMBLINE_PYTHON, folder);
  };
  CHECK_THAT(with_script("import os; os.kill(os.getpid(), 11)"), ContainsSubstring("was ended by signal 11"));
  CHECK_THAT(with_script("print('{\"error\": \"\\\\u001b[31mred\\\\nline\"}'); raise SystemExit(1)"),
             ContainsSubstring("a.pth: ?[31mred?line"));
  CHECK_THAT(with_script("import sys; sys.exit('\\x1b[31mred')"),
             ContainsSubstring("reported nothing (?[31mred)"));
  CHECK_THAT(with_script("print('{\"notes\": []}')"),
             ContainsSubstring("a.pth: the process that reads it ended well and wrote nothing"));
  CHECK_THAT(with_script("import sys; print('{\"notes\": []}'); open(sys.argv[2], 'w').write('x' * 9)"),
             ContainsSubstring("a.pth: the header's length"));
  CHECK_THAT(with_script("import sys; open(sys.argv[1], 'w').write('y'); print('{\"notes\": []}')"),
             ContainsSubstring("a.pth: changed while it was read"));
}
