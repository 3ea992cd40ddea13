// Recognises formats of weight files by name and content.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace plumbline {

// The first bytes of a file, as many as it has. Errors: InputError where it cannot be read.
std::string first_bytes(const std::filesystem::path& path, std::uint64_t most);

// By its content; by its name where the content is neither safetensors nor a pickle.
bool is_safetensors(const std::filesystem::path& path);

bool is_named_as_pickle(const std::string& name);

// Whether the file has a known format that is not supported; refuse_foreign throws InputError with advice.
bool is_foreign(const std::filesystem::path& path);
void refuse_foreign(const std::filesystem::path& path);

// Refuses files that are obviously no pickle before a process is started to read them. Errors: InputError.
void require_pickle(const std::filesystem::path& path);

}  // namespace plumbline
