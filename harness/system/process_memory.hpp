// Memory of the processes of a group; 0 where the system does not report it.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace plumbline {

// Sum of resident bytes; shared pages count for each process.
std::uint64_t resident_bytes(pid_t group);
// Sum of each process's peak of resident bytes.
std::uint64_t peak_resident_bytes(pid_t group);

}  // namespace plumbline
