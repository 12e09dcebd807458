#include "http1.h"

#include <algorithm>
#include <charconv>

namespace bench {
namespace {

constexpr size_t kUnfinished = std::string_view::npos;

bool same_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

// The value of header `name` in `head`; empty where there is none.
std::string_view header(std::string_view head, std::string_view name) {
  for (size_t at = head.find("\r\n"); at != std::string_view::npos; at = head.find("\r\n", at + 2)) {
    std::string_view line = head.substr(at + 2, head.find("\r\n", at + 2) - at - 2);
    size_t colon = line.find(':');
    if (colon == std::string_view::npos || !same_ignoring_case(line.substr(0, colon), name)) continue;
    size_t value = line.find_first_not_of(" \t", colon + 1);
    return value == std::string_view::npos ? std::string_view() : line.substr(value);
  }
  return {};
}

size_t number(std::string_view text, int base) {
  size_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc()) throw Http1Error("not a length: " + std::string(text));
  return value;
}

// Bytes that a chunked body takes; its content goes to `body`. kUnfinished where it has not arrived as a whole.
size_t chunks(std::string_view in, std::string& body) {
  for (size_t at = 0;;) {
    size_t line = in.find("\r\n", at);
    if (line == std::string_view::npos) return kUnfinished;
    size_t size = number(in.substr(at, line - at), 16);
    at = line + 2;
    if (in.size() < at + size + 2) return kUnfinished;
    body += in.substr(at, size);
    at += size + 2;
    if (size == 0) return at;  // trailers are not sent by any server here
  }
}

}  // namespace

void HttpConnection::send(uint64_t call, const std::string& request) {
  busy_ = true;
  call_ = call;
  out_ += request;
  flush();
}

size_t HttpConnection::consume(std::string_view in) {
  size_t head_size = in.find("\r\n\r\n");
  if (head_size == std::string_view::npos) return 0;
  if (!busy_) throw Http1Error("an answer that nobody asked for");
  std::string_view head = in.substr(0, head_size), rest = in.substr(head_size + 4), body;
  std::string pieces;
  size_t size;
  if (same_ignoring_case(header(head, "transfer-encoding"), "chunked")) {
    size = chunks(rest, pieces);
    body = pieces;
  } else {
    size = number(header(head, "content-length"), 10);
    if (rest.size() < size) size = kUnfinished;
    else body = rest.substr(0, size);
  }
  if (size == kUnfinished) return 0;
  std::string_view status = head.substr(head.find(' ') + 1, 3);
  std::string outcome = status == "200" ? std::string(kOk) : "HTTP_" + std::string(status);
  busy_ = false;
  done_({call_, outcome, body, outcome == kOk ? std::string_view() : body});
  return head_size + 4 + size;
}

}  // namespace bench
