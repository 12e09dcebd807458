#include "answers.h"

#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <stdexcept>

namespace bench {
namespace {

constexpr float kTolerance = 1e-4f;  // absolute below 1, relative above

// Field numbers of the protocol: ModelInferResponse, InferOutputTensor, InferTensorContents.
constexpr uint64_t kOutputs = 5, kRawOutputContents = 6, kContents = 5, kFp32Contents = 6;

bool varint(std::string_view& in, uint64_t& value) {
  value = 0;
  for (int shift = 0; shift < 64 && !in.empty(); shift += 7) {
    auto byte = static_cast<unsigned char>(in.front());
    in.remove_prefix(1);
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (!(byte & 0x80)) return true;
  }
  return false;
}

// The first length-delimited field `wanted` of a protobuf message; empty where there is none.
std::string_view field(std::string_view in, uint64_t wanted) {
  uint64_t tag, size;
  while (varint(in, tag)) {
    switch (tag & 7) {
      case 0:
        if (!varint(in, size)) return {};
        continue;
      case 1: size = 8; break;
      case 5: size = 4; break;
      case 2:
        if (!varint(in, size)) return {};
        break;
      default: return {};
    }
    if (size > in.size()) return {};
    if (tag >> 3 == wanted && (tag & 7) == 2) return in.substr(0, size);
    in.remove_prefix(size);
  }
  return {};
}

bool close_to(float found, float expected) {
  return std::fabs(found - expected) <= kTolerance * std::fmax(1.0f, std::fabs(expected));
}

bool floats_match(std::string_view bytes, const std::vector<float>& expected) {
  if (bytes.size() != expected.size() * sizeof(float)) return false;
  for (size_t i = 0; i < expected.size(); i++) {
    float found;
    std::memcpy(&found, bytes.data() + i * sizeof found, sizeof found);
    if (!close_to(found, expected[i])) return false;
  }
  return true;
}

bool message_matches(std::string_view body, const std::vector<float>& expected) {
  std::string_view raw = field(body, kRawOutputContents);
  return floats_match(raw.empty() ? field(field(field(body, kOutputs), kContents), kFp32Contents) : raw, expected);
}

bool json_matches(std::string_view body, const std::vector<float>& expected) {
  size_t key = body.find("\"data\"");
  if (key == std::string_view::npos) return false;
  body.remove_prefix(key + std::strlen("\"data\""));
  for (float each : expected) {
    size_t start = body.find_first_not_of(":[], \n");
    if (start == std::string_view::npos) return false;
    float found;
    auto [end, error] = std::from_chars(body.data() + start, body.data() + body.size(), found);
    if (error != std::errc() || !close_to(found, each)) return false;
    body.remove_prefix(static_cast<size_t>(end - body.data()));
  }
  return body.starts_with(']');
}

bool tail_matches(std::string_view body, const std::vector<float>& expected) {
  size_t size = expected.size() * sizeof(float);
  return body.size() > size && floats_match(body.substr(body.size() - size), expected);
}

}  // namespace

Form form_of(const std::string& name) {
  if (name == "message") return Form::kMessage;
  if (name == "json") return Form::kJson;
  if (name == "tail") return Form::kTail;
  throw std::invalid_argument("no such form of answers: " + name);
}

bool matches(Form form, std::string_view body, const std::vector<float>& expected) {
  switch (form) {
    case Form::kMessage: return message_matches(body, expected);
    case Form::kJson: return json_matches(body, expected);
    case Form::kTail: return tail_matches(body, expected);
  }
  return false;
}

}  // namespace bench
