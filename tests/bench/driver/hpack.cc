#include "hpack.h"

#include <array>

namespace bench {
namespace {

constexpr size_t kEntryOverhead = 32;  // RFC 7541 section 4.1

// RFC 7541, appendix A; indices start at 1.
const std::array<Field, 61> kStatic = {{
    {":authority", ""}, {":method", "GET"}, {":method", "POST"}, {":path", "/"}, {":path", "/index.html"},
    {":scheme", "http"}, {":scheme", "https"}, {":status", "200"}, {":status", "204"}, {":status", "206"},
    {":status", "304"}, {":status", "400"}, {":status", "404"}, {":status", "500"}, {"accept-charset", ""},
    {"accept-encoding", "gzip, deflate"}, {"accept-language", ""}, {"accept-ranges", ""}, {"accept", ""},
    {"access-control-allow-origin", ""}, {"age", ""}, {"allow", ""}, {"authorization", ""}, {"cache-control", ""},
    {"content-disposition", ""}, {"content-encoding", ""}, {"content-language", ""}, {"content-length", ""},
    {"content-location", ""}, {"content-range", ""}, {"content-type", ""}, {"cookie", ""}, {"date", ""}, {"etag", ""},
    {"expect", ""}, {"expires", ""}, {"from", ""}, {"host", ""}, {"if-match", ""}, {"if-modified-since", ""},
    {"if-none-match", ""}, {"if-range", ""}, {"if-unmodified-since", ""}, {"last-modified", ""}, {"link", ""},
    {"location", ""}, {"max-forwards", ""}, {"proxy-authenticate", ""}, {"proxy-authorization", ""}, {"range", ""},
    {"referer", ""}, {"refresh", ""}, {"retry-after", ""}, {"server", ""}, {"set-cookie", ""},
    {"strict-transport-security", ""}, {"transfer-encoding", ""}, {"user-agent", ""}, {"vary", ""}, {"via", ""},
    {"www-authenticate", ""},
}};

// RFC 7541, appendix B. The code is canonical, so the lengths in bits say all; the last symbol is the end of string.
constexpr std::array<uint8_t, 257> kCodeBits = {
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28,
    28, 28, 28, 28, 6,  10, 10, 12, 13, 6,  8,  11, 10, 10, 8,  11, 8,  6,  6,  6,  5,  5,  5,  6,  6,  6,  6,  6,
    6,  6,  7,  8,  15, 6,  12, 10, 13, 6,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,
    7,  7,  7,  7,  8,  7,  8,  13, 19, 13, 14, 6,  15, 5,  6,  5,  6,  5,  6,  6,  6,  5,  7,  7,  6,  6,  6,  5,
    6,  7,  6,  5,  5,  6,  7,  7,  7,  7,  7,  15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23,
    23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21,
    23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19,
    22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27,
    27, 27, 27, 26, 30,
};
constexpr int kBitsMax = 30;

// Codes of one length are consecutive numbers: the first of them, and the symbols in their order.
struct HuffmanTable {
  std::array<uint32_t, kBitsMax + 1> first{};
  std::array<std::vector<uint16_t>, kBitsMax + 1> symbols;

  HuffmanTable() {
    for (size_t symbol = 0; symbol < kCodeBits.size(); symbol++)
      symbols[kCodeBits[symbol]].push_back(static_cast<uint16_t>(symbol));
    uint32_t code = 0;
    for (size_t bits = 1; bits <= kBitsMax; bits++, code <<= 1) {
      first[bits] = code;
      code += static_cast<uint32_t>(symbols[bits].size());
    }
  }
};

std::string huffman(std::string_view coded) {
  static const HuffmanTable table;
  std::string text;
  uint32_t code = 0;
  size_t bits = 0;
  for (unsigned char byte : coded)
    for (int bit = 7; bit >= 0; bit--) {
      code = code << 1 | (byte >> bit & 1);
      if (++bits > kBitsMax) throw HpackError("no such Huffman code");
      if (code - table.first[bits] >= table.symbols[bits].size()) continue;
      text += static_cast<char>(table.symbols[bits][code - table.first[bits]]);
      code = 0;
      bits = 0;
    }
  return text;  // what is left are the most significant bits of the end of string
}

// RFC 7541 section 5.1. `in` is moved past the integer.
uint64_t integer(std::string_view& in, int prefix_bits) {
  auto byte = [&in] {
    if (in.empty()) throw HpackError("a header block ends in the middle");
    auto value = static_cast<unsigned char>(in.front());
    in.remove_prefix(1);
    return value;
  };
  uint64_t mask = (1u << prefix_bits) - 1, value = byte() & mask;
  if (value < mask) return value;
  for (int shift = 0; shift < 56; shift += 7) {
    unsigned char more = byte();
    value += static_cast<uint64_t>(more & 0x7f) << shift;
    if (!(more & 0x80)) return value;
  }
  throw HpackError("an integer is too large");
}

std::string text(std::string_view& in) {
  bool coded = !in.empty() && (in.front() & 0x80);
  uint64_t size = integer(in, 7);
  if (size > in.size()) throw HpackError("a string ends outside of its block");
  std::string_view bytes = in.substr(0, size);
  in.remove_prefix(size);
  return coded ? huffman(bytes) : std::string(bytes);
}

void put_integer(std::string& out, unsigned char first, int prefix_bits, uint64_t value) {
  uint64_t mask = (1u << prefix_bits) - 1;
  if (value < mask) {
    out += static_cast<char>(first | value);
    return;
  }
  out += static_cast<char>(first | mask);
  for (value -= mask; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

void put_text(std::string& out, std::string_view value) {
  put_integer(out, 0, 7, value.size());
  out += value;
}

void put_literal(std::string& out, unsigned char kind, const Field& field) {
  out += static_cast<char>(kind);
  put_text(out, field.first);
  put_text(out, field.second);
}

size_t entry_size(const Field& field) { return field.first.size() + field.second.size() + kEntryOverhead; }

uint64_t static_index(const Field& field) {
  for (size_t i = 0; i < kStatic.size(); i++)
    if (kStatic[i] == field) return i + 1;
  return 0;
}

}  // namespace

std::vector<Field> HpackDecoder::decode(std::string_view block) {
  std::vector<Field> fields;
  while (!block.empty()) {
    auto first = static_cast<unsigned char>(block.front());
    if (first & 0x80) {
      fields.push_back(at(integer(block, 7)));
    } else if ((first & 0xe0) == 0x20) {
      resize(integer(block, 5));
    } else {
      bool enters = first & 0x40;
      uint64_t index = integer(block, enters ? 6 : 4);
      std::string name = index ? at(index).first : text(block);
      fields.emplace_back(std::move(name), text(block));
      if (enters) insert(fields.back());
    }
  }
  return fields;
}

const Field& HpackDecoder::at(uint64_t index) const {
  if (index == 0 || index > kStatic.size() + table_.size()) throw HpackError("an index points nowhere");
  return index <= kStatic.size() ? kStatic[index - 1] : table_[index - kStatic.size() - 1];
}

void HpackDecoder::insert(Field field) {
  size_ += entry_size(field);
  table_.push_front(std::move(field));
  resize(size_max_);
}

void HpackDecoder::resize(size_t size_max) {
  if (size_max > kTableSize) throw HpackError("the table may not be that large");
  size_max_ = size_max;
  while (size_ > size_max_) {
    size_ -= entry_size(table_.back());
    table_.pop_back();
  }
}

RepeatedBlock::RepeatedBlock(std::vector<Field> fields) {
  std::vector<const Field*> entered;
  for (const Field& field : fields)
    if (static_index(field) == 0) entered.push_back(&field);
  plain_ = '\x20';  // "my table has no room": RFC 7541 section 6.3
  size_t age = entered.size();
  for (const Field& field : fields) {
    if (uint64_t index = static_index(field)) {
      for (std::string* block : {&first_, &later_, &plain_}) put_integer(*block, 0x80, 7, index);
      continue;
    }
    put_literal(first_, 0x40, field);
    put_integer(later_, 0x80, 7, kStatic.size() + age--);
    put_literal(plain_, 0x00, field);
    needed_ += entry_size(field);
  }
}

std::string_view RepeatedBlock::next(size_t size_max) {
  plain_only_ = plain_only_ || size_max < kTableSize || needed_ > kTableSize;
  if (plain_only_) return plain_;
  return std::exchange(entered_, true) ? later_ : first_;
}

}  // namespace bench
