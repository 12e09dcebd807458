#include "http2.h"

#include <poll.h>

#include <algorithm>
#include <array>

#include "clock.h"

namespace bench {
namespace {

enum FrameType : uint8_t {
  kData = 0, kHeaders = 1, kRstStream = 3, kSettings = 4, kPing = 6, kGoAway = 7, kWindowUpdate = 8, kContinuation = 9
};
constexpr uint8_t kEndStream = 0x1, kAck = 0x1, kEndHeaders = 0x4, kPadded = 0x8, kPriority = 0x20;
enum Setting : uint16_t {
  kHeaderTableSize = 1, kEnablePush = 2, kMaxConcurrentStreams = 3, kInitialWindowSize = 4, kMaxFrameSize = 5
};
constexpr uint32_t kCancel = 0x8;  // RFC 9113 section 7
constexpr size_t kFrameHead = 9;
constexpr size_t kMessageHead = 5;  // gRPC: compressed or not, length
constexpr uint32_t kOurWindow = 1 << 30;  // of the connection and each stream: replies never wait for us
constexpr int64_t kWindowMax = (1LL << 31) - 1;
constexpr int kSettingsWithinMs = 5000;

const std::array<std::string, 17> kStatusNames = {
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"};

std::string big_endian(uint64_t value, int bytes) {
  std::string out;
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) out += static_cast<char>(value >> shift);
  return out;
}

uint32_t read32(std::string_view in) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; i++) value = value << 8 | static_cast<unsigned char>(in.at(i));
  return value;
}

std::string setting(Setting name, uint32_t value) { return big_endian(name, 2) + big_endian(value, 4); }

std::string_view without_padding(uint8_t flags, std::string_view payload) {
  if (!(flags & kPadded)) return payload;
  size_t padding = static_cast<unsigned char>(payload.at(0));
  if (padding + 1 > payload.size()) throw Http2Error("more padding than frame");
  return payload.substr(1, payload.size() - 1 - padding);
}

std::string_view status_name(const std::string& code) {
  size_t number = std::min<size_t>(std::strtoul(code.c_str(), nullptr, 10), kStatusNames.size());
  return number < kStatusNames.size() ? std::string_view(kStatusNames[number]) : "UNKNOWN_STATUS";
}

}  // namespace

std::vector<Field> grpc_headers(const std::string& method, const std::vector<Field>& metadata, int timeout_ms, bool tls) {
  std::vector<Field> fields = {{":method", "POST"}, {":scheme", tls ? "https" : "http"}, {":path", method},
                               {":authority", "localhost"}, {"te", "trailers"}};
  if (timeout_ms > 0) fields.emplace_back("grpc-timeout", std::to_string(timeout_ms) + "m");
  fields.emplace_back("content-type", "application/grpc");
  fields.emplace_back("user-agent", "waypost-bench");
  fields.insert(fields.end(), metadata.begin(), metadata.end());
  return fields;
}

GrpcConnection::GrpcConnection(const std::string& address, const Tls* tls, Done done, const std::vector<Field>& headers)
    : Connection(address, tls, std::move(done)), headers_(headers) {
  out_ = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  put_frame(kSettings, 0, 0, setting(kEnablePush, 0) + setting(kInitialWindowSize, kOurWindow));
  put_frame(kWindowUpdate, 0, 0, big_endian(kOurWindow, 4));
  flush();
  Nanos deadline = now() + kSettingsWithinMs * (kSecond / 1000);
  while (!settings_seen_) {
    pollfd readable{fd(), POLLIN, 0};
    if (now() > deadline || poll(&readable, 1, kSettingsWithinMs) <= 0) throw Http2Error("no SETTINGS from the server");
    receive();
  }
}

void GrpcConnection::send(uint64_t call, const std::string& request) {
  uint32_t id = next_stream_;
  next_stream_ += 2;
  Stream& stream = streams_[id];
  stream.call = call;
  stream.request = &request;
  stream.window = stream_window_;
  put_frame(kHeaders, kEndHeaders, id, headers_.next(table_size_max_));
  push(id, stream);
  flush();
}

bool GrpcConnection::cancel(uint64_t call) {
  auto found = std::find_if(streams_.begin(), streams_.end(), [call](auto& each) { return each.second.call == call; });
  if (found == streams_.end()) return true;
  put_frame(kRstStream, 0, found->first, big_endian(kCancel, 4));
  blocked_.erase(found->first);
  streams_.erase(found);
  flush();
  return true;
}

size_t GrpcConnection::consume(std::string_view in) {
  size_t eaten = 0;
  while (in.size() - eaten >= kFrameHead) {
    std::string_view head = in.substr(eaten, kFrameHead);
    size_t size = read32(head) >> 8;
    if (in.size() - eaten - kFrameHead < size) break;
    on_frame({static_cast<uint8_t>(head[3]), static_cast<uint8_t>(head[4]), read32(head.substr(5)) & 0x7fffffff,
              in.substr(eaten + kFrameHead, size)});
    eaten += kFrameHead + size;
  }
  return eaten;
}

void GrpcConnection::on_frame(Frame frame) {
  switch (frame.type) {
    case kData: return on_data(frame);
    case kHeaders:
    case kContinuation: return on_headers(frame);
    case kRstStream: return fail(frame.stream, "RST_STREAM", "the server reset the stream");
    case kSettings: return on_settings(frame);
    case kWindowUpdate: return on_window_update(frame);
    case kGoAway: going_away_ = true; return;
    case kPing:
      if (!(frame.flags & kAck)) put_frame(kPing, kAck, 0, frame.payload);
      return;
    default: return;  // RFC 9113 section 5.5: unknown frames are ignored
  }
}

void GrpcConnection::on_data(const Frame& frame) {
  taken_ += frame.payload.size();
  if (taken_ > kOurWindow / 2) {
    put_frame(kWindowUpdate, 0, 0, big_endian(taken_, 4));
    taken_ = 0;
  }
  auto found = streams_.find(frame.stream);
  if (found == streams_.end()) return;  // of a call that was cancelled
  found->second.reply += without_padding(frame.flags, frame.payload);
  if (frame.flags & kEndStream) finish(frame.stream);
}

void GrpcConnection::on_headers(Frame frame) {
  if (frame.type == kHeaders) {
    frame.payload = without_padding(frame.flags, frame.payload);
    if (frame.flags & kPriority) frame.payload.remove_prefix(std::min<size_t>(5, frame.payload.size()));
    block_.clear();
    block_flags_ = frame.flags;
  }
  block_ += frame.payload;
  if (frame.flags & kEndHeaders) on_header_block(frame.stream, block_flags_ & kEndStream);
}

void GrpcConnection::on_header_block(uint32_t id, bool end_stream) {
  std::vector<Field> fields = decoder_.decode(block_);  // always: the table is the connection's, not the call's
  auto found = streams_.find(id);
  if (found == streams_.end()) return;
  for (auto& [name, value] : fields) {
    if (name == "grpc-status") found->second.status = std::move(value);
    else if (name == "grpc-message") found->second.message = std::move(value);
    else if (name == ":status") found->second.http_status = std::move(value);
  }
  if (end_stream) finish(id);
}

void GrpcConnection::on_settings(const Frame& frame) {
  if (frame.flags & kAck) return;
  for (std::string_view left = frame.payload; left.size() >= 6; left.remove_prefix(6)) {
    uint32_t value = read32(left.substr(2));
    switch (read32(left) >> 16) {
      case kHeaderTableSize: table_size_max_ = value; break;
      case kMaxConcurrentStreams: streams_max_ = value; break;
      case kMaxFrameSize: frame_max_ = value; break;
      case kInitialWindowSize:
        for (auto& [id, stream] : streams_) stream.window += static_cast<int64_t>(value) - stream_window_;
        stream_window_ = value;
        break;
    }
  }
  settings_seen_ = true;
  put_frame(kSettings, kAck, 0, {});
  push_all();
}

void GrpcConnection::on_window_update(const Frame& frame) {
  uint32_t more = read32(frame.payload) & 0x7fffffff;
  auto found = streams_.find(frame.stream);
  if (frame.stream == 0) window_ += more;
  else if (found != streams_.end()) found->second.window += more;
  if (window_ > kWindowMax) throw Http2Error("the server opened the window too far");
  push_all();
}

void GrpcConnection::finish(uint32_t id) {
  Stream stream = std::move(streams_.extract(id).mapped());
  blocked_.erase(id);
  std::string_view body = stream.reply;
  std::string_view outcome = stream.status.empty() ? "NO_GRPC_STATUS" : status_name(stream.status);
  if (outcome == kOk) {
    bool whole = body.size() >= kMessageHead && body[0] == 0 && read32(body.substr(1)) == body.size() - kMessageHead;
    outcome = whole ? kOk : "BAD_MESSAGE";
    body.remove_prefix(std::min(body.size(), kMessageHead));
  }
  done_({stream.call, outcome, body, stream.status.empty() ? stream.http_status : stream.message});
}

void GrpcConnection::fail(uint32_t id, std::string_view outcome, std::string_view message) {
  auto node = streams_.extract(id);
  blocked_.erase(id);
  if (!node.empty()) done_({node.mapped().call, outcome, {}, message});
}

void GrpcConnection::push(uint32_t id, Stream& stream) {
  const std::string& request = *stream.request;
  size_t total = kMessageHead + request.size();
  while (stream.sent < total && stream.window > 0 && window_ > 0) {
    auto allowed = static_cast<size_t>(std::min(stream.window, window_));
    size_t size = std::min({total - stream.sent, frame_max_, allowed});
    if (stream.sent == 0 && size < kMessageHead) break;  // not worth a frame
    put_frame_head(kData, stream.sent + size == total ? kEndStream : 0, id, size);
    size_t head = stream.sent == 0 ? kMessageHead : 0;
    if (head) out_ += '\0' + big_endian(request.size(), 4);
    out_.append(request, stream.sent + head - kMessageHead, size - head);
    stream.sent += size;
    stream.window -= static_cast<int64_t>(size);
    window_ -= static_cast<int64_t>(size);
  }
  if (stream.sent < total) blocked_[id] = stream.call;
  else blocked_.erase(id);
}

void GrpcConnection::push_all() {
  for (auto each = blocked_.begin(); each != blocked_.end() && window_ > 0;) {
    uint32_t id = (each++)->first;  // push may erase it
    push(id, streams_.at(id));
  }
}

void GrpcConnection::put_frame(uint8_t type, uint8_t flags, uint32_t stream, std::string_view payload) {
  put_frame_head(type, flags, stream, payload.size());
  out_ += payload;
}

void GrpcConnection::put_frame_head(uint8_t type, uint8_t flags, uint32_t stream, size_t size) {
  out_ += big_endian(size, 3);
  out_ += static_cast<char>(type);
  out_ += static_cast<char>(flags);
  out_ += big_endian(stream, 4);
}

}  // namespace bench
