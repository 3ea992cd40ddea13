# Everything Plumbline links, as imported targets. Why each is there stands in docs/set-up.md.

# LibTorch. TorchConfig.cmake of a CUDA wheel demands a whole CUDA toolkit where only the driver is needed, so
# the libraries are found directly: in a pip wheel, a LibTorch archive or a distribution's package alike.
find_path(LIBTORCH_INCLUDE_DIR ATen/ATen.h PATH_SUFFIXES include REQUIRED)
find_library(LIBTORCH_LIBRARY torch REQUIRED)
find_library(LIBTORCH_CPU_LIBRARY torch_cpu REQUIRED)
find_library(LIBTORCH_C10_LIBRARY c10 REQUIRED)
get_filename_component(LIBTORCH_LIBRARY_DIR ${LIBTORCH_LIBRARY} DIRECTORY)
find_library(LIBTORCH_CUDA_LIBRARY torch_cuda HINTS ${LIBTORCH_LIBRARY_DIR} NO_DEFAULT_PATH)
find_library(LIBTORCH_C10_CUDA_LIBRARY c10_cuda HINTS ${LIBTORCH_LIBRARY_DIR} NO_DEFAULT_PATH)
add_library(plumbline::libtorch INTERFACE IMPORTED)
target_include_directories(plumbline::libtorch SYSTEM INTERFACE ${LIBTORCH_INCLUDE_DIR}
                           ${LIBTORCH_INCLUDE_DIR}/torch/csrc/api/include)
# The wheels export copies of std::filesystem from the library that they were built with, some from libtorch and others from
# libtorch_cpu. Mixed with the system's they crash (torch 2.11 with CUDA 13 on Ubuntu 24.04: remove_all of a directory that is
# not empty). Whoever is loaded first is used by all, so the system's comes first.
if(CMAKE_CXX_IMPLICIT_LINK_LIBRARIES MATCHES "stdc\\+\\+")
  target_link_libraries(plumbline::libtorch INTERFACE stdc++)
endif()
target_link_libraries(plumbline::libtorch INTERFACE ${LIBTORCH_LIBRARY} ${LIBTORCH_CPU_LIBRARY} ${LIBTORCH_C10_LIBRARY})
if(LIBTORCH_CUDA_LIBRARY AND LIBTORCH_C10_CUDA_LIBRARY)
  # Nothing of ours calls into torch_cuda: it registers itself when it is loaded, so it must not be dropped.
  target_link_libraries(plumbline::libtorch INTERFACE
                        -Wl,--no-as-needed ${LIBTORCH_CUDA_LIBRARY} ${LIBTORCH_C10_CUDA_LIBRARY} -Wl,--as-needed)
endif()
list(APPEND CMAKE_BUILD_RPATH ${LIBTORCH_LIBRARY_DIR})
list(APPEND CMAKE_INSTALL_RPATH ${LIBTORCH_LIBRARY_DIR})

# at::parallel_for is a template of the headers: a file compiled without OpenMP runs it on one thread, whatever LibTorch
# itself does. All rooms or none, since a template must not be compiled in two ways. The library that is loaded is
# LibTorch's own.
find_package(OpenMP COMPONENTS CXX)
if(OpenMP_CXX_FOUND)
  target_link_libraries(plumbline::libtorch INTERFACE OpenMP::OpenMP_CXX)
endif()

# LibTorch allocates every small tensor anew; where tcmalloc is installed, a run at `tiny` takes a sixth less time with it.
add_library(plumbline::allocator INTERFACE IMPORTED)
find_library(TCMALLOC_LIBRARY tcmalloc_minimal)
if(TCMALLOC_LIBRARY AND CMAKE_SYSTEM_NAME STREQUAL "Linux" AND NOT PLUMBLINE_SANITIZE)
  target_link_libraries(plumbline::allocator INTERFACE -Wl,--no-as-needed ${TCMALLOC_LIBRARY} -Wl,--as-needed)
endif()

find_package(nlohmann_json 3.10 REQUIRED)
find_package(CLI11 2.1 REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)

find_package(ZLIB REQUIRED)

# Boost.Math is headers alone, and its CMake package has other names from release to release.
find_path(BOOST_MATH_INCLUDE_DIR boost/math/distributions/binomial.hpp REQUIRED)
add_library(plumbline::boost INTERFACE IMPORTED)
target_include_directories(plumbline::boost SYSTEM INTERFACE ${BOOST_MATH_INCLUDE_DIR})

# fmt's library, so that no other file compiles what formats. LibTorch's wheel brings headers of another fmt without its
# library: a folder that holds none but the right ones stands before all others.
find_package(fmt 8 REQUIRED)
get_target_property(fmt_include_dir fmt::fmt INTERFACE_INCLUDE_DIRECTORIES)
if(NOT EXISTS ${fmt_include_dir}/fmt/format.h)
  message(FATAL_ERROR "fmt ${fmt_VERSION}: its headers are not in '${fmt_include_dir}', where its package says they are; install fmt again")
endif()
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/fmt)
file(CREATE_LINK ${fmt_include_dir}/fmt ${PROJECT_BINARY_DIR}/fmt/fmt SYMBOLIC)
string(REGEX MATCH "([0-9]+)\\.([0-9]+)\\.([0-9]+)" version ${fmt_VERSION})
math(EXPR PLUMBLINE_FMT_VERSION "${CMAKE_MATCH_1} * 10000 + ${CMAKE_MATCH_2} * 100 + ${CMAKE_MATCH_3}")
add_library(plumbline::fmt INTERFACE IMPORTED)
target_include_directories(plumbline::fmt SYSTEM INTERFACE ${PROJECT_BINARY_DIR}/fmt)
target_link_libraries(plumbline::fmt INTERFACE fmt::fmt)

# Catch2 before version 3 has other headers; where a system has none, CMake fetches the release.
include(FetchContent)
FetchContent_Declare(Catch2 GIT_REPOSITORY https://github.com/catchorg/Catch2.git GIT_TAG v3.7.1
                     FIND_PACKAGE_ARGS 3.4)
FetchContent_MakeAvailable(Catch2)

# HDF5's C interface; FindHDF5 reports variables, not a target.
set(HDF5_PREFER_PARALLEL FALSE)
enable_language(C)
find_package(HDF5 1.10 REQUIRED COMPONENTS C)
add_library(plumbline::hdf5 INTERFACE IMPORTED)
target_include_directories(plumbline::hdf5 SYSTEM INTERFACE ${HDF5_C_INCLUDE_DIRS})
target_link_libraries(plumbline::hdf5 INTERFACE ${HDF5_C_LIBRARIES})

# Data files and the child processes that need Python (a .pth file, the oracle) use this interpreter.
set(PLUMBLINE_PYTHON "python3" CACHE STRING "Python with torch, numpy, h5py and safetensors")
