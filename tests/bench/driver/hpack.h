// Header compression for HTTP/2 (RFC 7541): a whole decoder, and as much encoder as one repeated request needs.
#pragma once

#include <cstdint>
#include <deque>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bench {

using Field = std::pair<std::string, std::string>;

constexpr size_t kTableSize = 4096;  // of both sides until told otherwise, RFC 9113 section 6.5.2

struct HpackError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Decodes the header blocks of one connection, in their order.
class HpackDecoder {
 public:
  // Throws HpackError where `block` breaks the rules.
  std::vector<Field> decode(std::string_view block);

 private:
  const Field& at(uint64_t index) const;
  void insert(Field field);
  void resize(size_t size_max);

  std::deque<Field> table_;  // newest first
  size_t size_ = 0;
  size_t size_max_ = kTableSize;
};

// Encodes the same fields again and again. The first block enters them into the server's table, as every gRPC client
// does, so that each later call carries one byte per field.
class RepeatedBlock {
 public:
  explicit RepeatedBlock(std::vector<Field> fields);

  // size_max: of the server's table (SETTINGS_HEADER_TABLE_SIZE), as known by now. Where that is less than the usual,
  // the table is not used from then on.
  std::string_view next(size_t size_max);

 private:
  size_t needed_ = 0;
  std::string first_, later_, plain_;
  bool entered_ = false, plain_only_ = false;
};

}  // namespace bench
