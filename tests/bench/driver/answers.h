// Whether an answer holds the numbers that it should, found without a parser of the whole reply.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace bench {

// Where the floats of a reply are.
enum class Form {
  kMessage,  // a ModelInferResponse of the Open Inference Protocol, raw or typed contents
  kJson,     // the array after the key "data"
  kTail,     // little-endian at the end: the protocol's binary tensor extension
};

// Form by its name: message, json or tail. Throws std::invalid_argument.
Form form_of(const std::string& name);

// Whether `body` holds `expected`, to float precision: decimal digits and other batch sizes round differently.
bool matches(Form form, std::string_view body, const std::vector<float>& expected);

}  // namespace bench
