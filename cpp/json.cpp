#include "json.h"

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <stdexcept>

namespace trt_passes {
namespace {

class Parser {
 public:
  explicit Parser(const std::string& text) : text_(text) {}

  Json whole() {
    Json value = any();
    space();
    if (place_ != text_.size()) fail();
    return value;
  }

 private:
  const std::string& text_;
  size_t place_ = 0;
  int depth_ = 0;

  [[noreturn]] void fail() const {
    throw std::runtime_error("this is no JSON at character " + std::to_string(place_));
  }

  void space() {
    while (place_ < text_.size() && std::string(" \t\r\n").find(text_[place_]) != std::string::npos) ++place_;
  }

  char next() const { return place_ < text_.size() ? text_[place_] : '\0'; }

  void expect(char sign) {
    space();
    if (next() != sign) fail();
    ++place_;
  }

  bool takes(const std::string& word) {
    if (text_.compare(place_, word.size(), word) != 0) return false;
    place_ += word.size();
    return true;
  }

  Json any() {
    if (++depth_ > 200) fail();
    space();
    Json value;
    if (next() == '{') {
      value = object();
    } else if (next() == '[') {
      value = list();
    } else if (next() == '"') {
      value.kind = Json::Kind::Text;
      value.text = quoted();
    } else if (takes("null")) {
      value.kind = Json::Kind::Null;
    } else if (takes("true") || takes("false")) {
      value.kind = Json::Kind::Bool;
      value.truth = text_[place_ - 2] == 'u';
    } else {
      value = number();
    }
    --depth_;
    return value;
  }

  Json object() {
    Json value;
    value.kind = Json::Kind::Object;
    expect('{');
    for (space(); next() != '}'; space()) {
      if (!value.fields.empty()) expect(',');
      space();
      std::string name = quoted();
      expect(':');
      value.fields.emplace(std::move(name), any());
    }
    ++place_;
    return value;
  }

  Json list() {
    Json value;
    value.kind = Json::Kind::List;
    expect('[');
    for (space(); next() != ']'; space()) {
      if (!value.items.empty()) expect(',');
      value.items.push_back(any());
    }
    ++place_;
    return value;
  }

  std::string quoted() {
    if (next() != '"') fail();
    std::string found;
    for (++place_; next() != '"'; ++place_) {
      if (place_ >= text_.size()) fail();
      if (next() != '\\') {
        found += next();
        continue;
      }
      ++place_;
      static const std::string names = "\"\\/bfnrt", signs = "\"\\/\b\f\n\r\t";
      const size_t which = names.find(next());
      if (next() == 'u' && place_ + 4 < text_.size()) {
        append_utf8(found, std::strtoul(text_.substr(place_ + 1, 4).c_str(), nullptr, 16));
        place_ += 4;
      } else if (which != std::string::npos) {
        found += signs[which];
      } else {
        fail();
      }
    }
    ++place_;
    return found;
  }

  static void append_utf8(std::string& text, unsigned long code) {
    if (code < 0x80) {
      text += static_cast<char>(code);
    } else if (code < 0x800) {
      text += static_cast<char>(0xC0 | (code >> 6));
      text += static_cast<char>(0x80 | (code & 0x3F));
    } else {
      text += static_cast<char>(0xE0 | (code >> 12));
      text += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
      text += static_cast<char>(0x80 | (code & 0x3F));
    }
  }

  Json number() {
    Json value;
    value.kind = Json::Kind::Float;
    if (takes("NaN")) {
      value.number = std::numeric_limits<double>::quiet_NaN();
    } else if (takes("Infinity")) {
      value.number = std::numeric_limits<double>::infinity();
    } else if (takes("-Infinity")) {
      value.number = -std::numeric_limits<double>::infinity();
    } else {
      const size_t start = place_;
      while (std::string("+-0123456789.eE").find(next()) != std::string::npos && next() != '\0') ++place_;
      const std::string digits = text_.substr(start, place_ - start);
      if (digits.empty()) fail();
      if (digits.find_first_of(".eE") == std::string::npos) {
        value.kind = Json::Kind::Int;
        value.whole = std::strtoll(digits.c_str(), nullptr, 10);
      }
      value.number = std::strtod(digits.c_str(), nullptr);
    }
    return value;
  }
};

}  // namespace

const Json& Json::at(const std::string& name) const {
  const auto found = fields.find(name);
  if (found == fields.end()) throw std::runtime_error("the JSON has no " + name);
  return found->second;
}

Json parse_json(const std::string& text) { return Parser(text).whole(); }

}  // namespace trt_passes
