#include "graph.h"

#include <cmath>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <algorithm>
#include <unordered_map>

#include <ATen/ScalarOps.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/ivalue.h>
#include <ATen/core/jit_type.h>

#include "json.h"

namespace trt_passes {
namespace {

using c10::IValue;
using Values = std::unordered_map<std::string, IValue>;

const std::map<std::string, c10::ScalarType> kTypes = {
    {"float32", at::kFloat},   {"float64", at::kDouble},  {"float16", at::kHalf},
    {"bfloat16", at::kBFloat16}, {"int64", at::kLong},    {"int32", at::kInt},
    {"int16", at::kShort},     {"int8", at::kChar},       {"uint8", at::kByte},
    {"bool", at::kBool},       {"complex64", at::kComplexFloat}, {"complex128", at::kComplexDouble},
};

const std::map<std::string, c10::MemoryFormat> kFormats = {
    {"contiguous_format", c10::MemoryFormat::Contiguous},
    {"preserve_format", c10::MemoryFormat::Preserve},
    {"channels_last", c10::MemoryFormat::ChannelsLast},
    {"channels_last_3d", c10::MemoryFormat::ChannelsLast3d},
};

// Recurrent layers, which trt_passes has under names of its own.
const std::map<std::string, std::string> kRecurrent = {
    {"trt_passes::lstm.default", "aten::lstm.input"},
    {"trt_passes::gru.default", "aten::gru.input"},
    {"trt_passes::rnn_tanh.default", "aten::rnn_tanh.input"},
    {"trt_passes::rnn_relu.default", "aten::rnn_relu.input"},
};

// Operators of ATen that do more than compute with tensors: no file gets to call them.
const std::set<std::string> kRefused = {
    "aten::from_file", "aten::save", "aten::_print", "aten::manual_seed", "aten::seed",
    "aten::set_", "aten::set", "aten::set_data", "aten::record_stream",
};

template <typename Map>
typename Map::mapped_type looked_up(const Map& map, const std::string& name) {
  const auto found = map.find(name);
  TORCH_CHECK(found != map.end(), "the graph of a segment has ", name, ", which is not known here");
  return found->second;
}

// A value without a type to be of: what functions on sizes take.
IValue plain(const Json& value, const Values& values) {
  switch (value.kind) {
    case Json::Kind::Null: return IValue();
    case Json::Kind::Bool: return IValue(value.truth);
    case Json::Kind::Int: return IValue(value.whole);
    case Json::Kind::Float: return IValue(value.number);
    case Json::Kind::Text: return IValue(value.text);
    case Json::Kind::Object: return looked_up(values, value.at("node").text);
    default: TORCH_CHECK(false, "a function on sizes takes a list in the graph of a segment");
  }
}

IValue number_of(const IValue& value) {
  return value.isSymInt() ? IValue(value.toSymInt().guard_int(__FILE__, __LINE__)) : value;
}

// A value of the type that an operator takes.
IValue typed(const Json& value, const c10::TypePtr& type, const Values& values, const c10::Device& device) {
  if (const auto optional = type->cast<c10::OptionalType>()) {
    return value.kind == Json::Kind::Null ? IValue() : typed(value, optional->getElementType(), values, device);
  }
  if (const auto list = type->cast<c10::ListType>()) {
    if (value.kind == Json::Kind::Object) return looked_up(values, value.at("node").text);
    const auto element = list->getElementType();
    const bool sizes = element->kind() == c10::TypeKind::SymIntType;
    c10::impl::GenericList items(sizes ? c10::TypePtr(c10::IntType::get()) : element);
    if (value.kind != Json::Kind::List) {  // one number in the place of several
      items.push_back(typed(value, element, values, device));
    }
    for (const auto& item : value.items) items.push_back(typed(item, element, values, device));
    return IValue(items);
  }
  if (value.kind == Json::Kind::Object) {
    const auto& [kind, content] = *value.fields.begin();
    if (kind == "dtype") return IValue(static_cast<int64_t>(looked_up(kTypes, content.text)));
    if (kind == "memory_format") return IValue(static_cast<int64_t>(looked_up(kFormats, content.text)));
    if (kind == "layout") return IValue(static_cast<int64_t>(c10::Layout::Strided));
    if (kind == "device") return IValue(device);
    if (kind == "complex") return IValue(c10::complex<double>(content.items.at(0).number, content.items.at(1).number));
  }
  IValue found = number_of(plain(value, values));
  if (type->kind() == c10::TypeKind::TensorType && found.isScalar()) {
    at::Tensor tensor = c10::scalar_to_tensor(found.toScalar(), at::kCPU);
    tensor.unsafeGetTensorImpl()->set_wrapped_number(true);  // it does not decide the type of the result
    return IValue(tensor);
  }
  if (type->kind() == c10::TypeKind::FloatType && found.isInt()) return IValue(static_cast<double>(found.toInt()));
  return found;
}

// Python's arithmetic on sizes.
int64_t floor_divided(int64_t a, int64_t b) { return a / b - ((a % b != 0) && ((a % b < 0) != (b < 0))); }

IValue function(const std::string& name, const std::vector<IValue>& given) {
  if (name == "operator.getitem") {
    const int64_t index = given.at(1).toInt();
    const auto& from = given[0];
    if (from.isTuple()) return from.toTupleRef().elements().at(index);
    return from.toListRef().at(index);
  }
  const bool whole = std::all_of(given.begin(), given.end(), [](const IValue& v) { return v.isInt() || v.isBool(); });
  const auto as_int = [&](size_t i) { return given.at(i).isBool() ? int64_t(given[i].toBool()) : given[i].toInt(); };
  const auto as_float = [&](size_t i) { return given.at(i).isDouble() ? given[i].toDouble() : double(as_int(i)); };
  const auto both = [&](auto ints, auto floats) {
    return whole ? IValue(ints(as_int(0), as_int(1))) : IValue(floats(as_float(0), as_float(1)));
  };
  if (name == "operator.add") return both(std::plus<int64_t>(), std::plus<double>());
  if (name == "operator.sub") return both(std::minus<int64_t>(), std::minus<double>());
  if (name == "operator.mul") return both(std::multiplies<int64_t>(), std::multiplies<double>());
  if (name == "operator.floordiv") return both(floor_divided, [](double a, double b) { return std::floor(a / b); });
  if (name == "operator.mod") {
    return both([](int64_t a, int64_t b) { return a - floor_divided(a, b) * b; },
                [](double a, double b) { return a - std::floor(a / b) * b; });
  }
  if (name == "operator.truediv") return IValue(as_float(0) / as_float(1));
  if (name == "operator.pow" && !whole) return IValue(std::pow(as_float(0), as_float(1)));
  if (name == "operator.pow") return IValue(int64_t(std::llround(std::pow(as_float(0), as_float(1)))));
  if (name == "operator.neg") return whole ? IValue(-as_int(0)) : IValue(-as_float(0));
  if (name == "operator.eq") return IValue(as_float(0) == as_float(1));
  if (name == "operator.ne") return IValue(as_float(0) != as_float(1));
  if (name == "operator.lt") return IValue(as_float(0) < as_float(1));
  if (name == "operator.le") return IValue(as_float(0) <= as_float(1));
  if (name == "operator.gt") return IValue(as_float(0) > as_float(1));
  if (name == "operator.ge") return IValue(as_float(0) >= as_float(1));
  const auto larger = [](auto a, auto b) { return std::max(a, b); };
  const auto smaller = [](auto a, auto b) { return std::min(a, b); };
  if (name == "torch.sym_max") return both(larger, larger);
  if (name == "torch.sym_min") return both(smaller, smaller);
  if (name == "torch.sym_float") return IValue(as_float(0));
  if (name == "torch.sym_int" || name == "math.trunc") return IValue(int64_t(std::trunc(as_float(0))));
  if (name == "torch.sym_not") return IValue(as_int(0) == 0);
  if (name == "torch.sym_ite") return as_int(0) ? given.at(1) : given.at(2);
  if (name == "math.floor") return IValue(int64_t(std::floor(as_float(0))));
  if (name == "math.ceil") return IValue(int64_t(std::ceil(as_float(0))));
  if (name == "math.sqrt") return IValue(std::sqrt(as_float(0)));
  if (name == "round") return IValue(int64_t(std::nearbyint(as_float(0))));
  TORCH_CHECK(false, "the graph of a segment calls ", name, ", which only Python has: load the model with trt_passes");
}

IValue called(const std::string& target, const Json& args, const Json& kwargs, const Values& values,
              c10::Device device) {
  const auto renamed = kRecurrent.find(target);
  const std::string& name = renamed == kRecurrent.end() ? target : renamed->second;
  if (name.find("::") == std::string::npos) {
    std::vector<IValue> given;
    for (const auto& item : args.items) given.push_back(number_of(plain(item, values)));
    return function(name, given);
  }
  const bool ours = name.rfind("trt_passes::", 0) == 0 && name.rfind("trt_passes::execute_engine", 0) != 0;
  TORCH_CHECK(ours || name.rfind("aten::", 0) == 0 || name.rfind("prims::", 0) == 0, "the graph of a segment calls ", name,
              ", which only Python has: load the model with trt_passes");
  const size_t point = name.rfind('.');
  const std::string overload = name.substr(point + 1);
  TORCH_CHECK(kRefused.count(name.substr(0, point)) == 0, "the graph of a segment may not call ", name);
  const c10::OperatorName asked{name.substr(0, point), overload == "default" ? "" : overload};
  const auto found = c10::Dispatcher::singleton().findSchema(asked);
  TORCH_CHECK(found.has_value(), "this PyTorch has no operator ", name, ": compile again with this version");
  const auto& schema = found->schema();
  std::vector<IValue> stack;
  for (size_t place = 0; place < schema.arguments().size(); ++place) {
    const auto& argument = schema.arguments()[place];
    if (place < args.items.size()) {
      stack.push_back(typed(args.items[place], argument.type(), values, device));
    } else if (kwargs.has(argument.name())) {
      stack.push_back(typed(kwargs.at(argument.name()), argument.type(), values, device));
    } else {
      TORCH_CHECK(argument.default_value().has_value(), name, " is not given ", argument.name());
      stack.push_back(*argument.default_value());
    }
  }
  found->callBoxed(&stack);
  return stack.size() == 1 ? number_of(stack[0]) : IValue(c10::ivalue::Tuple::create(std::move(stack)));
}

std::vector<IValue> evaluated(const Json& graph, const std::vector<IValue>& arguments, c10::Device device);

std::vector<IValue> listed(const Json& list, const Values& values) {
  std::vector<IValue> found;
  for (const auto& item : list.items) found.push_back(plain(item, values));
  return found;
}

bool holds(const IValue& value) { return value.isTensor() ? value.toTensor().item<bool>() : value.toBool(); }

// A branch or a loop: operators that take graphs, which are known by their names.
std::vector<IValue> controlled(const std::string& name, const Json& args, const Values& values,
                               const std::unordered_map<std::string, const Json*>& graphs, c10::Device device) {
  const auto graph = [&](size_t place) -> const Json& {
    return *looked_up(graphs, args.items.at(place).at("node").text);
  };
  if (name == "higher_order::cond") {
    const bool chosen = holds(plain(args.items.at(0), values));
    return evaluated(graph(chosen ? 1 : 2), listed(args.items.at(3), values), device);
  }
  TORCH_CHECK(name == "higher_order::while_loop", "the graph of a segment calls ", name, ", which only Python can run");
  std::vector<IValue> carried = listed(args.items.at(2), values);
  const std::vector<IValue> rest = args.items.size() > 3 ? listed(args.items[3], values) : std::vector<IValue>();
  const auto given = [&] {
    std::vector<IValue> all(carried);
    all.insert(all.end(), rest.begin(), rest.end());
    return all;
  };
  while (holds(evaluated(graph(0), given(), device).at(0))) carried = evaluated(graph(1), given(), device);
  return carried;
}

std::vector<IValue> evaluated(const Json& graph, const std::vector<IValue>& arguments, c10::Device device) {
  Values values;
  std::unordered_map<std::string, const Json*> graphs;
  size_t given = 0;
  for (const auto& row : graph.at("nodes").items) {
    const std::string& name = row.items.at(0).text;
    if (row.items.size() == 1) {
      TORCH_CHECK(given < arguments.size(), "the graph of a segment takes more than it is given");
      values[name] = arguments[given++];
    } else if (row.items.size() == 2) {
      graphs[name] = &row.items[1];
    } else if (row.items.at(1).text.rfind("higher_order::", 0) == 0) {
      values[name] = c10::ivalue::Tuple::create(controlled(row.items[1].text, row.items.at(2), values, graphs, device));
    } else {
      values[name] = called(row.items[1].text, row.items.at(2), row.items.at(3), values, device);
    }
  }
  const Json& outputs = graph.at("outputs");
  return outputs.kind == Json::Kind::List ? listed(outputs, values) : std::vector<IValue>{plain(outputs, values)};
}

std::shared_ptr<const Json> parsed(const std::string& text) {
  static std::mutex lock;
  static std::unordered_map<std::string, std::shared_ptr<const Json>> known;
  const std::lock_guard<std::mutex> guard(lock);
  auto& found = known[text];
  if (!found) found = std::make_shared<const Json>(parse_json(text));
  return found;
}

}  // namespace

std::vector<at::Tensor> run_graph(const std::string& text, const std::vector<at::Tensor>& arguments) {
  const auto graph = parsed(text);
  const c10::Device device = arguments.empty() ? c10::Device(c10::kCPU) : arguments[0].device();
  std::vector<at::Tensor> results;
  for (const auto& item : evaluated(*graph, {arguments.begin(), arguments.end()}, device)) {
    results.push_back(item.toTensor());
  }
  return results;
}

}  // namespace trt_passes
