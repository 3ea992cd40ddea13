#include <fmt/format.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include "harness/candidate/checkpoint_files.test.hpp"

using namespace plumbline;
using namespace plumbline::checkpoint_tests;
using Catch::Matchers::ContainsSubstring;
namespace fs = std::filesystem;

TEST_CASE("checkpoint: a state dict keeps its types, its tied tensors and nothing else",
          "[candidate][checkpoint]") {
  const CheckpointFolder place;
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
  const CheckpointFolder place;
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
  const CheckpointFolder place;
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
  const CheckpointFolder place;
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
  const CheckpointFolder place;
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
  const CheckpointFolder place;
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
  const CheckpointFolder place;
  place.text("a.pth", "x");
  const std::string folder = place.directory.string();
  CHECK_THAT(refusal(place.at("a.pth"), "/no/python"), ContainsSubstring("/no/python: cannot be run"));
  CHECK_THAT(refusal(place.at("a.pth"), PLUMBLINE_PYTHON, "/no"),
             ContainsSubstring("ended with status 2 and reported nothing"));
  const auto with_script = [&](const std::string& script) {
    place.text("read_state_dict.py", script);
    return refusal(place.at("a.pth"), PLUMBLINE_PYTHON, folder);
  };
  CHECK_THAT(with_script("import os; os.kill(os.getpid(), 11)"),
             ContainsSubstring("was stopped by signal 11"));
  CHECK_THAT(with_script("print('{\"error\": \"\\\\u001b[31mred\\\\nline\"}'); raise SystemExit(1)"),
             ContainsSubstring("a.pth: ?[31mred?line"));
  CHECK_THAT(with_script("import sys; sys.exit('\\x1b[31mred')"),
             ContainsSubstring("reported nothing (?[31mred)"));
  CHECK_THAT(with_script("print('{\"notes\": []}')"),
             ContainsSubstring("a.pth: the process that reads it wrote nothing; try again"));
  CHECK_THAT(with_script("import sys; print('{\"notes\": []}'); open(sys.argv[2], 'w').write('x' * 9)"),
             ContainsSubstring("a.pth: the header's length"));
  CHECK_THAT(with_script("import sys; open(sys.argv[1], 'w').write('y'); print('{\"notes\": []}')"),
             ContainsSubstring("a.pth: changed while it was read; try again"));
}
