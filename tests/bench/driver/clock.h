// Monotonic time in nanoseconds, the only clock of the driver.
#pragma once

#include <cstdint>
#include <ctime>

namespace bench {

using Nanos = int64_t;
constexpr Nanos kSecond = 1'000'000'000;

inline Nanos now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * kSecond + t.tv_nsec;
}

}  // namespace bench
