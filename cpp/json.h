// JSON as Python writes it, read into values.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace trt_passes {

struct Json {
  enum class Kind { Null, Bool, Int, Float, Text, List, Object };

  Kind kind = Kind::Null;
  bool truth = false;
  int64_t whole = 0;
  double number = 0;
  std::string text;
  std::vector<Json> items;
  std::map<std::string, Json> fields;

  const Json& at(const std::string& name) const;
  bool has(const std::string& name) const { return fields.count(name) > 0; }
};

// Throws std::runtime_error where a text is no JSON.
Json parse_json(const std::string& text);

}  // namespace trt_passes
