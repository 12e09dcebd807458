// What gRPC and onnxruntime cost at best: ModelInfer on gRPC's asynchronous C++ server, one completion queue, one
// thread, the model run where the request is read. No authentication, no metrics, no log.
//
//   cpp_server MODELS_DIR --grpc PORT --models NAME... [--tls DIR]
//
// serves MODELS_DIR/NAME/model.onnx; with the certificate and the key of DIR, where one is given.
//
// It answers nothing but well-formed requests for one FP32 tensor; it is a yardstick, not a server to use.
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/proto_utils.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <numeric>

#include "ort.h"
#include "waypost/api/inference/v1/inference.pb.h"

namespace {

namespace oip = waypost::api::inference::v1;

constexpr const char* kMethod = "/inference.GRPCInferenceService/ModelInfer";
constexpr int kArmed = 64;  // calls that may arrive before the thread looks again

class Models {
 public:
  void add(const std::string& name, const std::string& path) { sessions_.emplace(name, ort::load(env_, path)); }

  // Throws ort::Error, std::out_of_range for a model that is not there.
  void infer(const oip::ModelInferRequest& request, oip::ModelInferResponse& response) const {
    const ort::Session& session = sessions_.at(request.model_name());
    const auto& input = request.inputs(0);
    ort::Value x = ort::tensor(memory_, request.raw_input_contents(0), input.shape().data(), input.shape_size());
    ort::Value y = ort::run(session, "x", x, "y");
    response.set_model_name(request.model_name());
    response.set_id(request.id());
    auto* output = response.add_outputs();
    output->set_name("y");
    output->set_datatype("FP32");
    auto shape = ort::shape_of(y);
    output->mutable_shape()->Add(shape.begin(), shape.end());
    auto size = std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
    response.add_raw_output_contents(ort::floats_of(y), static_cast<size_t>(size) * sizeof(float));
  }

 private:
  ort::Env env_ = ort::make_env();
  ort::MemoryInfo memory_ = ort::make_cpu_memory();
  std::map<std::string, ort::Session> sessions_;
};

// One call, from before it arrives until its answer has left. Its own address is the tag of all its events.
class Call {
 public:
  Call(grpc::AsyncGenericService& service, grpc::ServerCompletionQueue& queue, const Models& models)
      : service_(service), queue_(queue), models_(models) {
    service_.RequestCall(&context_, &stream_, &queue_, &queue_, this);
  }

  // The next event of this call; false when there is none to come.
  bool proceed(bool ok) {
    if (!ok) return false;
    switch (step_++) {
      case 0:
        new Call(service_, queue_, models_);  // the next one to arrive
        stream_.Read(&bytes_, this);
        return true;
      case 1:
        answer();
        return true;
      default: return false;
    }
  }

 private:
  void answer() {
    oip::ModelInferRequest request;
    oip::ModelInferResponse response;
    grpc::Status status = parse(request);
    if (status.ok()) status = infer(request, response);
    if (!status.ok()) return stream_.Finish(status, this);
    bool owned = false;
    grpc::ByteBuffer reply;
    grpc::SerializationTraits<oip::ModelInferResponse>::Serialize(response, &reply, &owned);
    stream_.WriteAndFinish(reply, grpc::WriteOptions(), grpc::Status::OK, this);
  }

  grpc::Status parse(oip::ModelInferRequest& request) {
    if (context_.method() != kMethod) return {grpc::StatusCode::UNIMPLEMENTED, "only ModelInfer is served"};
    grpc::Status status = grpc::SerializationTraits<oip::ModelInferRequest>::Deserialize(&bytes_, &request);
    if (status.ok() && (request.inputs_size() != 1 || request.raw_input_contents_size() != 1))
      return {grpc::StatusCode::INVALID_ARGUMENT, "send one input with raw contents"};
    return status;
  }

  grpc::Status infer(const oip::ModelInferRequest& request, oip::ModelInferResponse& response) {
    try {
      models_.infer(request, response);
      return grpc::Status::OK;
    } catch (const std::exception& error) {
      return {grpc::StatusCode::INVALID_ARGUMENT, error.what()};
    }
  }

  grpc::AsyncGenericService& service_;
  grpc::ServerCompletionQueue& queue_;
  const Models& models_;
  grpc::GenericServerContext context_;
  grpc::GenericServerAsyncReaderWriter stream_{&context_};
  grpc::ByteBuffer bytes_;
  int step_ = 0;
};

std::string content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::shared_ptr<grpc::ServerCredentials> credentials(const std::string& tls) {
  if (tls.empty()) return grpc::InsecureServerCredentials();
  grpc::SslServerCredentialsOptions options;
  options.pem_key_cert_pairs.push_back({content(tls + "/key.pem"), content(tls + "/certificate.pem")});
  return grpc::SslServerCredentials(options);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 6) return std::fprintf(stderr, "usage: cpp_server MODELS_DIR --grpc PORT --models NAME... [--tls DIR]\n"), 2;
  Models models;
  std::string tls;
  for (int i = 5; i < argc; i++) {
    if (std::strcmp(argv[i], "--tls") == 0 && i + 1 < argc)
      tls = argv[++i];
    else
      models.add(argv[i], std::string(argv[1]) + "/" + argv[i] + "/model.onnx");
  }
  grpc::AsyncGenericService service;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:" + std::string(argv[3]), credentials(tls));
  builder.RegisterAsyncGenericService(&service);
  builder.SetMaxReceiveMessageSize(-1);
  auto queue = builder.AddCompletionQueue();
  auto server = builder.BuildAndStart();
  if (!server) return std::fprintf(stderr, "cannot listen on port %s\n", argv[3]), 1;
  for (int i = 0; i < kArmed; i++) new Call(service, *queue, models);
  void* tag;
  for (bool ok; queue->Next(&tag, &ok);) {
    auto* call = static_cast<Call*>(tag);
    if (!call->proceed(ok)) delete call;
  }
}
