// How much memory the processes of a group hold; 0 where the system does not tell.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace plumbline {

// Bytes in use by all of them; pages that they share count for each.
std::uint64_t resident_bytes(pid_t group);
// What each of them has held at its own worst moment.
std::uint64_t most_resident_bytes(pid_t group);

}  // namespace plumbline
