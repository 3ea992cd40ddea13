#pragma once

#include <hdf5.h>

namespace plumbline {

// An HDF5 identifier, closed by the function that belongs to its kind.
class Hdf5Handle {
 public:
  Hdf5Handle(hid_t id, herr_t (*closing)(hid_t)) : id_(id), close_(closing) {}
  Hdf5Handle(const Hdf5Handle&) = delete;
  Hdf5Handle& operator=(const Hdf5Handle&) = delete;
  ~Hdf5Handle() { close(); }
  hid_t get() const { return id_; }
  bool valid() const { return id_ >= 0; }
  // Closes it; false where that failed, which for a file means that it may be incomplete.
  bool close() {
    const bool succeeded = id_ < 0 || close_(id_) >= 0;
    id_ = -1;
    return succeeded;
  }

 private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

}  // namespace plumbline
