#include "connection.h"

namespace bench {
namespace {

constexpr size_t kReadSize = 256 << 10;  // a read of everything that loopback usually holds

}  // namespace

void Connection::receive() {
  static thread_local std::string buffer(kReadSize, '\0');
  while (size_t got = transport_.read(buffer.data(), buffer.size())) {
    if (in_.empty()) {
      size_t eaten = consume({buffer.data(), got});
      in_.assign(buffer, eaten, got - eaten);
    } else {
      in_.append(buffer, 0, got);
      in_.erase(0, consume(in_));
    }
    if (got < buffer.size()) break;  // epoll tells when there is more
  }
  if (wants_to_write()) flush();
}

void Connection::flush() {
  while (written_ < out_.size()) {
    size_t put = transport_.write(out_.data() + written_, out_.size() - written_);
    if (put == 0) return;
    written_ += put;
  }
  out_.clear();
  written_ = 0;
}

}  // namespace bench
