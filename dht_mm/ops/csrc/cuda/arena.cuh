// Many scratch buffers in one allocation.
#pragma once

#include <cstdint>

namespace dht {

// Hands out pieces of one buffer. Laid out twice: the first time without memory, to find the size.
class Arena {
 public:
  explicit Arena(char* base) : base_(base) {}
  template <class T>
  void give(T*& pointer, int64_t count) {
    pointer = reinterpret_cast<T*>(base_ + used_);
    used_ += (count * static_cast<int64_t>(sizeof(T)) + 255) / 256 * 256;
  }
  int64_t used() const { return used_; }

 private:
  char* base_;
  int64_t used_ = 0;
};

}  // namespace dht
