// The few functions of onnxruntime's C API that the server calls.
//
// The wheel on PyPI holds the library without its header, and Debian has neither. The API is one table of function
// pointers, asked for by version; entries are only ever added at its end, and the library itself asserts their
// positions. So a position and a signature are all that a caller needs. Handles are opaque.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

extern "C" {
struct OrtApiBase {
  const void* const* (*GetApi)(uint32_t version);
  const char* (*GetVersionString)();
};
const OrtApiBase* OrtGetApiBase() noexcept;
}

namespace ort {

constexpr uint32_t kApiVersion = 1;  // all of what follows is in the first version

inline const void* const* table() {
  static const void* const* entries = OrtGetApiBase()->GetApi(kApiVersion);
  return entries;
}

template <typename Result, typename... Arguments>
Result call(size_t position, Arguments... arguments) {
  return reinterpret_cast<Result (*)(Arguments...)>(const_cast<void*>(table()[position]))(arguments...);
}

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Calls a function that returns an OrtStatus*, null for success. Throws Error.
template <typename... Arguments>
void check(size_t position, Arguments... arguments) {
  constexpr size_t kGetErrorMessage = 2, kReleaseStatus = 93;
  void* status = call<void*>(position, arguments...);
  if (status == nullptr) return;
  std::string message = call<const char*>(kGetErrorMessage, status);
  call<void>(kReleaseStatus, status);
  throw Error(message);
}

// A handle that is given back by the entry at `Release`.
template <size_t Release>
class Handle {
 public:
  Handle() = default;
  ~Handle() {
    if (handle_ != nullptr) call<void>(Release, handle_);
  }
  Handle(Handle&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Handle& operator=(Handle&&) = delete;

  void* get() const { return handle_; }
  void** out() { return &handle_; }

 private:
  void* handle_ = nullptr;
};

using Env = Handle<92>;
using MemoryInfo = Handle<94>;
using Session = Handle<95>;
using Value = Handle<96>;
using ShapeInfo = Handle<99>;
using SessionOptions = Handle<100>;

inline Env make_env() {
  constexpr int kWarning = 2;
  Env env;
  check(3 /* CreateEnv */, kWarning, "bench", env.out());
  return env;
}

inline MemoryInfo make_cpu_memory() {
  constexpr int kArenaAllocator = 1, kMemTypeDefault = 0;
  MemoryInfo memory;
  check(69 /* CreateCpuMemoryInfo */, kArenaAllocator, kMemTypeDefault, memory.out());
  return memory;
}

// One thread for each run, as in all servers of the benchmark.
inline Session load(const Env& env, const std::string& path) {
  SessionOptions options;
  Session session;
  check(10 /* CreateSessionOptions */, options.out());
  check(24 /* SetIntraOpNumThreads */, options.get(), 1);
  check(25 /* SetInterOpNumThreads */, options.get(), 1);
  check(7 /* CreateSession */, env.get(), path.c_str(), options.get(), session.out());
  return session;
}

// A tensor of floats over memory that must outlive it.
inline Value tensor(const MemoryInfo& memory, const std::string& bytes, const int64_t* shape, size_t rank) {
  constexpr int kFloat = 1;
  Value value;
  check(49 /* CreateTensorWithDataAsOrtValue */, memory.get(), static_cast<void*>(const_cast<char*>(bytes.data())),
        bytes.size(), shape, rank, kFloat, value.out());
  return value;
}

inline Value run(const Session& session, const char* input, const Value& x, const char* output) {
  Value y;
  void* given = x.get();
  check(9 /* Run */, session.get(), static_cast<void*>(nullptr), &input, &given, size_t{1}, &output, size_t{1}, y.out());
  return y;
}

inline std::vector<int64_t> shape_of(const Value& value) {
  ShapeInfo info;
  size_t rank = 0;
  check(65 /* GetTensorTypeAndShape */, value.get(), info.out());
  check(61 /* GetDimensionsCount */, info.get(), &rank);
  std::vector<int64_t> shape(rank);
  check(62 /* GetDimensions */, info.get(), shape.data(), rank);
  return shape;
}

inline const float* floats_of(const Value& value) {
  void* data = nullptr;
  check(51 /* GetTensorMutableData */, value.get(), &data);
  return static_cast<const float*>(data);
}

}  // namespace ort
