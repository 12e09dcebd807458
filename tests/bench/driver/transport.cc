#include "transport.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#ifdef BENCH_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
#endif

namespace bench {
namespace {

[[noreturn]] void fail(const std::string& what) { throw TransportError(what + ": " + std::strerror(errno)); }

int connect_unix(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) throw TransportError("socket path too long: " + path);
  std::memcpy(address.sun_path, path.data(), path.size());
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return fd;
  close(fd);
  fail("cannot connect to " + path);
}

int connect_loopback(const std::string& target) {
  size_t colon = target.rfind(':');
  if (target.substr(0, colon) != "127.0.0.1") throw TransportError("only 127.0.0.1 may be put under load: " + target);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(std::stoi(target.substr(colon + 1))));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    close(fd);
    fail("cannot connect to " + target);
  }
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

}  // namespace

Transport::Transport(const std::string& address, const Tls* tls)
    : fd_(address.starts_with("unix:") ? connect_unix(address.substr(5)) : connect_loopback(address)) {
  if (tls != nullptr) secure(*tls);
  fcntl(fd_, F_SETFL, O_NONBLOCK);
}

size_t Transport::read(char* into, size_t size) {
#ifdef BENCH_TLS
  if (tls_ != nullptr) return moved_by_tls(SSL_read(tls_, into, static_cast<int>(size)));
#endif
  ssize_t got = ::read(fd_, into, size);
  if (got > 0) return static_cast<size_t>(got);
  if (got == 0) throw TransportError("the server closed the connection");
  if (errno == EAGAIN) return 0;
  fail("reading");
}

size_t Transport::write(const char* from, size_t size) {
#ifdef BENCH_TLS
  if (tls_ != nullptr) return moved_by_tls(SSL_write(tls_, from, static_cast<int>(size)));
#endif
  ssize_t put = ::send(fd_, from, size, MSG_NOSIGNAL);
  if (put >= 0) return static_cast<size_t>(put);
  if (errno == EAGAIN) return 0;
  fail("writing");
}

#ifdef BENCH_TLS

Transport::~Transport() {
  SSL_free(tls_);
  SSL_CTX_free(context_);
  if (fd_ >= 0) close(fd_);
}

void Transport::secure(const Tls& tls) {
  context_ = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_verify(context_, SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_mode(context_, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  if (SSL_CTX_load_verify_locations(context_, tls.ca_file.c_str(), nullptr) != 1)
    throw TransportError("cannot read " + tls.ca_file);
  tls_ = SSL_new(context_);
  SSL_set_fd(tls_, fd_);
  SSL_set_tlsext_host_name(tls_, "localhost");
  SSL_set1_host(tls_, "localhost");
  std::string offered = static_cast<char>(tls.protocol.size()) + tls.protocol;
  SSL_set_alpn_protos(tls_, reinterpret_cast<const unsigned char*>(offered.data()), static_cast<unsigned>(offered.size()));
  if (SSL_connect(tls_) != 1) throw TransportError(std::string("TLS: ") + ERR_reason_error_string(ERR_get_error()));
}

size_t Transport::moved_by_tls(int result) const {
  if (result > 0) return static_cast<size_t>(result);
  int why = SSL_get_error(tls_, result);
  if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) return 0;
  throw TransportError("the TLS connection broke");
}

#else

Transport::~Transport() {
  if (fd_ >= 0) close(fd_);
}

void Transport::secure(const Tls&) { throw TransportError("this driver was built without OpenSSL: no TLS"); }

#endif

}  // namespace bench
