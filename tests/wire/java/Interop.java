import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptors;
import io.grpc.Context;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.MetadataUtils;
import io.grpc.stub.StreamObserver;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;

/** Calls tests/wire/echo_host.py with stock grpc-java and says "ok NAME" for each thing that works. Argument: ADDRESS. */
public final class Interop {
  private static final String SERVICE = "waypost.test.Echo";
  private static final int LARGE = 1 << 27;

  private final Channel channel;

  private Interop(Channel channel) {
    this.channel = channel;
  }

  public static void main(String[] arguments) throws Exception {
    ManagedChannel channel =
        NettyChannelBuilder.forTarget(arguments[0]).usePlaintext().maxInboundMessageSize(LARGE).build();
    Interop interop = new Interop(channel);
    run("unary", interop::unary);
    run("concurrent", interop::concurrent);
    run("metadata", interop::metadata);
    run("gzip", interop::compressed);
    run("deadline", interop::deadline);
    run("cancel", interop::cancelled);
    run("error", interop::failing);
    run("unknown", interop::unknown);
    run("stream", interop::stream);
    run("flow", interop::flow);
    channel.shutdownNow();
  }

  private interface Check {
    void run() throws Exception;
  }

  private static void run(String name, Check check) throws Exception {
    check.run();
    System.out.println("ok " + name);
  }

  private void unary() {
    for (int size : new int[] {0, 1, 16_379, 16_380, 70_000, 1 << 20, 40_000_000}) {
      byte[] message = filled(size);
      require(Arrays.equals(call("Unary", message, options()), message), size + " bytes");
    }
  }

  private void concurrent() throws Exception {
    ExecutorService pool = Executors.newFixedThreadPool(32);
    List<Future<?>> callers = new ArrayList<>();
    for (int caller = 0; caller < 32; caller++) {
      byte[] message = filled(caller + 1);
      callers.add(pool.submit(() -> {
        for (int turn = 0; turn < 50; turn++) {
          require(Arrays.equals(call("Unary", message, options()), message), "concurrent");
        }
      }));
    }
    for (Future<?> caller : callers) {
      caller.get();
    }
    pool.shutdown();
  }

  private void metadata() {
    Metadata.Key<String> key = Metadata.Key.of("echo", Metadata.ASCII_STRING_MARSHALLER);
    Metadata sent = new Metadata();
    sent.put(key, "hello");
    sent.put(Metadata.Key.of("blob-bin", Metadata.BINARY_BYTE_MARSHALLER), new byte[] {0, -1});
    AtomicReference<Metadata> headers = new AtomicReference<>();
    AtomicReference<Metadata> trailers = new AtomicReference<>();
    Channel telling = ClientInterceptors.intercept(channel,
        MetadataUtils.newAttachHeadersInterceptor(sent),
        MetadataUtils.newCaptureMetadataInterceptor(headers, trailers));
    ClientCalls.blockingUnaryCall(telling, method("Unary", MethodDescriptor.MethodType.UNARY), options(), new byte[0]);
    require("hello".equals(trailers.get().get(key)), "trailers " + trailers.get());
  }

  private void compressed() {
    for (int size : new int[] {10, 10_000, 5_000_000}) {
      byte[] message = filled(size);
      require(Arrays.equals(call("Unary", message, options().withCompression("gzip")), message), size + " compressed");
    }
  }

  private void deadline() {
    CallOptions soon = CallOptions.DEFAULT.withDeadlineAfter(50, TimeUnit.MILLISECONDS);
    requireStatus(Status.Code.DEADLINE_EXCEEDED, () -> call("Never", new byte[0], soon));
  }

  private void cancelled() throws Exception {
    String before = text(call("Withdrawn", new byte[0], options()));
    Context.CancellableContext context = Context.current().withCancellation();
    ExecutorService pool = Executors.newSingleThreadExecutor();
    pool.submit(() -> {
      Thread.sleep(50);
      return context.cancel(null);
    });
    context.run(() -> requireStatus(Status.Code.CANCELLED, () -> call("Never", new byte[0], options())));
    while (text(call("Withdrawn", new byte[0], options())).equals(before)) {
      Thread.sleep(1);
    }
    pool.shutdown();
  }

  private void failing() {
    StatusRuntimeException failed = requireStatus(
        Status.Code.FAILED_PRECONDITION, () -> call("Fail", new byte[0], options()));
    require("100 % refused: café".equals(failed.getStatus().getDescription()), failed.getStatus().getDescription());
    Metadata.Key<byte[]> details = Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER);
    require(failed.getTrailers().containsKey(details), "details");
  }

  private void unknown() {
    requireStatus(Status.Code.UNIMPLEMENTED, () -> call("Nothing", new byte[0], options()));
  }

  private void stream() throws Exception {
    BlockingQueue<byte[]> answers = new LinkedBlockingQueue<>();
    byte[] end = new byte[0];
    ClientCall<byte[], byte[]> call =
        channel.newCall(method("Stream", MethodDescriptor.MethodType.BIDI_STREAMING), options());
    StreamObserver<byte[]> requests = ClientCalls.asyncBidiStreamingCall(call, new StreamObserver<byte[]>() {
      @Override public void onNext(byte[] answer) {
        answers.add(answer);
      }

      @Override public void onError(Throwable error) {
        answers.add(error.toString().getBytes(StandardCharsets.UTF_8));
      }

      @Override public void onCompleted() {
        answers.add(end);
      }
    });
    for (int size : new int[] {1, 100_000, 9_000_000, 3}) {
      byte[] message = filled(size);
      requests.onNext(message);
      require(Arrays.equals(answers.poll(30, TimeUnit.SECONDS), message), size + " streamed");
    }
    requests.onCompleted();
    require(answers.poll(30, TimeUnit.SECONDS) == end, "the stream did not end");
  }

  private void flow() {
    Iterator<byte[]> counted = ClientCalls.blockingServerStreamingCall(channel,
        method("Count", MethodDescriptor.MethodType.SERVER_STREAMING), options(),
        "2000 20000".getBytes(StandardCharsets.UTF_8));
    int count = 0;
    while (counted.hasNext()) {
      require(counted.next().length == 20_000, "message " + count);
      count++;
    }
    require(count == 2000, count + " messages");
  }

  private byte[] call(String name, byte[] message, CallOptions options) {
    return ClientCalls.blockingUnaryCall(channel, method(name, MethodDescriptor.MethodType.UNARY), options, message);
  }

  private static CallOptions options() {
    return CallOptions.DEFAULT.withDeadlineAfter(30, TimeUnit.SECONDS);
  }

  private static MethodDescriptor<byte[], byte[]> method(String name, MethodDescriptor.MethodType type) {
    return MethodDescriptor.newBuilder(new Raw(), new Raw())
        .setType(type)
        .setFullMethodName(MethodDescriptor.generateFullMethodName(SERVICE, name))
        .build();
  }

  private static byte[] filled(int size) {
    byte[] message = new byte[size];
    Arrays.fill(message, (byte) 7);
    return message;
  }

  private static String text(byte[] message) {
    return new String(message, StandardCharsets.UTF_8);
  }

  private static StatusRuntimeException requireStatus(Status.Code code, Runnable call) {
    try {
      call.run();
    } catch (StatusRuntimeException failed) {
      require(failed.getStatus().getCode() == code, failed.toString());
      return failed;
    }
    throw new IllegalStateException("did not fail: " + code);
  }

  private static void require(boolean true_, String what) {
    if (!true_) {
      throw new IllegalStateException(what);
    }
  }

  /** Hands messages through as bytes. */
  private static final class Raw implements MethodDescriptor.Marshaller<byte[]> {
    @Override public InputStream stream(byte[] message) {
      return new ByteArrayInputStream(message);
    }

    @Override public byte[] parse(InputStream stream) {
      try {
        return stream.readAllBytes();
      } catch (IOException failed) {
        throw new UncheckedIOException(failed);
      }
    }
  }
}
