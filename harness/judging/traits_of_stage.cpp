#include "harness/judging/traits_of_stage.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <utility>

namespace plumbline {
namespace {

using at::Tensor;
using reports::Trait;
using Kind = reports::Trait::Kind;

constexpr double kLeft = 0.01;           // of the error, after a simple account
constexpr double kOfRounding = 0.02;     // of the values: some roundings to eight bits
constexpr double kSmooth = 0.02;         // of the error, between neighbours of a function of one number
constexpr std::int64_t kMostParts = 64;  // of an axis that are listed
constexpr std::int64_t kEnoughForAFunction = 200;  // elements

// The names of a stage's axes.
std::vector<std::string> axes_of(const WrongStage& wrong) {
  const auto& kind = wrong.stage.kind;
  if (kind == "scores" || kind == "probabilities") return {"row", "head", "query", "key"};
  if (kind == "logits") return {"row", "position", "token"};
  if (wrong.expected.dim() == 4) return {"row", "position", "head", "coordinate"};
  return {"row", "position", "coordinate"};
}

double root_mean_square(const Tensor& x) {
  return x.numel() == 0 ? 0 : x.square().mean().sqrt().item<double>();
}

// Element by element, of one shape; what is hidden in both is left out.
struct Values {
  Tensor actual, expected;

  double error() const { return root_mean_square(actual - expected); }
  bool explained_by(const Tensor& account) const {
    return root_mean_square(actual - account) <= kLeft * error();
  }
};

// The numbers of those parts of an axis of which an element is wrong.
std::vector<double> wrong_parts(const Tensor& wrong, std::int64_t axis) {
  const auto by_part = wrong.transpose(0, axis).flatten(1).any(1);
  std::vector<double> parts;
  for (const auto& part : by_part.nonzero().flatten().unbind()) parts.push_back(part.item<double>());
  return parts;
}

// Narrows all to the parts that are wrong, and says which these are.
std::vector<Trait> confine(WrongStage& wrong) {
  std::vector<Trait> found;
  const auto axes = axes_of(wrong);
  const auto is_wrong =
      ~((wrong.actual - wrong.expected).abs() <= wrong.bound) & (wrong.actual != wrong.expected);
  for (std::int64_t axis = 0; axis < wrong.expected.dim(); ++axis) {
    const auto parts = wrong_parts(is_wrong, axis);
    const auto count = static_cast<std::int64_t>(parts.size());
    if (count == 0 || count == is_wrong.size(axis)) continue;
    // Of many coordinates and tokens a few are right by chance.
    const auto& name = axes[static_cast<std::size_t>(axis)];
    if ((name == "coordinate" || name == "token") && 2 * count > is_wrong.size(axis)) continue;
    if (count <= kMostParts) found.push_back({Kind::confined, name, parts});
    const std::vector<std::int64_t> indices(parts.begin(), parts.end());
    const auto narrow = [axis, chosen = at::tensor(indices, at::kLong)](const Tensor& x) {
      return x.index_select(axis, chosen);
    };
    for (auto* tensor : {&wrong.actual, &wrong.expected}) *tensor = narrow(*tensor);
    for (auto* tensor : {&wrong.not_turned, &wrong.branch, &wrong.gate, &wrong.up})
      if (*tensor) **tensor = narrow(**tensor);
    if (wrong.turned)
      wrong.turned = [narrow, whole = wrong.turned](std::int64_t later) {
        const auto other = whole(later);
        return other ? std::optional(narrow(*other)) : std::nullopt;
      };
  }
  return found;
}

// Of scores, which keys are seen that are hidden, and the other way round. `seen`, `visible`: (B, H, T, S).
std::optional<Trait> of_mask(const Tensor& seen, const Tensor& visible) {
  const auto shown = (seen & ~visible).nonzero(), hidden = (visible & ~seen).nonzero();
  const auto offset = visible.size(3) - visible.size(2);
  const auto later = [&](const Tensor& places) { return places.select(1, 3) - places.select(1, 2) - offset; };
  if (shown.size(0) > 0) {
    const auto distance = later(shown);
    return distance.min().item<std::int64_t>() > 0
               ? Trait{Kind::sees_later, "", {distance.max().item<double>()}}
               : Trait{Kind::sees_hidden, "", {static_cast<double>(shown.size(0))}};
  }
  if (hidden.size(0) == 0) return std::nullopt;
  const auto back = -later(hidden);
  return Trait{Kind::misses, "", {back.min().item<double>(), back.max().item<double>()}};
}

// Values that a narrower type than the model's holds, and that are off by no more than its rounding makes.
std::optional<Trait> of_rounding(const Values& values, at::ScalarType model_type) {
  if (model_type != at::kFloat || values.error() > kOfRounding * root_mean_square(values.expected))
    return std::nullopt;
  for (const auto& [kind, type] :
       {std::pair{Kind::bfloat16, at::kBFloat16}, std::pair{Kind::float16, at::kHalf}})
    if (values.actual.to(type).to(at::kDouble).equal(values.actual) &&
        !values.expected.to(at::kFloat).to(type).to(at::kDouble).equal(values.expected))
      return Trait{kind, "", {}};
  return std::nullopt;
}

std::optional<Trait> of_all_elements(const Values& values, at::ScalarType model_type) {
  const auto& [actual, expected] = std::tie(values.actual, values.expected);
  if (actual.count_nonzero().item<std::int64_t>() == 0) return Trait{Kind::zero, "", {}};
  const double factor = ((actual * expected).sum() / expected.square().sum()).item<double>();
  if (values.explained_by(factor * expected)) return Trait{Kind::factor, "", {factor}};
  const double added = (actual - expected).mean().item<double>();
  if (values.explained_by(expected + added)) return Trait{Kind::offset, "", {added}};
  if (const auto rounded = of_rounding(values, model_type)) return rounded;
  const double most = actual.abs().max().item<double>(), due = expected.abs().max().item<double>();
  if (most < due && values.explained_by(expected.clamp(-most, most)))
    return Trait{Kind::limited, "", {most, due}};
  return std::nullopt;
}

// Each part of an axis multiplied by a number of its own.
std::optional<Trait> of_parts(const Values& values, const std::vector<std::string>& axes) {
  for (std::int64_t axis = 0; axis < values.expected.dim(); ++axis) {
    if (values.expected.size(axis) == 1 || 4 * values.expected.size(axis) > values.expected.numel()) continue;
    const auto a = values.actual.transpose(0, axis).flatten(1),
               e = values.expected.transpose(0, axis).flatten(1);
    const auto factors = (a * e).sum(1, true) / e.square().sum(1, true).clamp_min(1e-300);
    if (Values{a, e}.explained_by(factors * e))
      return Trait{Kind::factor_each,
                   axes[static_cast<std::size_t>(axis)],
                   {factors.min().item<double>(), factors.max().item<double>()}};
  }
  return std::nullopt;
}

// (B, T, heads, ...) of which each head is another one.
std::optional<Trait> of_heads(const Values& values) {
  const auto heads = values.expected.size(2);
  std::vector<double> order;
  for (std::int64_t head = 0; head < heads; ++head)
    for (std::int64_t other = 0; other < heads; ++other) {
      const auto account = values.expected.select(2, other);
      const double off = root_mean_square(values.actual.select(2, head) - account);
      if (off > kLeft * root_mean_square(account)) continue;
      order.push_back(static_cast<double>(other));
      break;
    }
  return static_cast<std::int64_t>(order.size()) == heads && !std::is_sorted(order.begin(), order.end())
             ? std::optional(Trait{Kind::heads_reordered, "", order})
             : std::nullopt;
}

// What belongs to another position, along axis 1.
std::optional<Trait> of_positions(const Values& values) {
  const auto length = values.expected.size(1);
  for (const std::int64_t before : {1, -1, 2, -2, 3, -3}) {
    const auto rest = length - std::abs(before);
    if (rest < 4) continue;
    const Values moved{values.actual.narrow(1, std::max<std::int64_t>(before, 0), rest),
                       values.expected.narrow(1, std::max<std::int64_t>(before, 0), rest)};
    if (moved.explained_by(values.expected.narrow(1, std::max<std::int64_t>(-before, 0), rest)))
      return Trait{Kind::moved, "", {static_cast<double>(before)}};
  }
  return std::nullopt;
}

// Whether neighbours among the arguments become neighbours. Then two arguments, each with what it becomes;
// `error`: how far the values are off. Empty for what is no function.
std::vector<double> function_of(const Tensor& arguments, const Tensor& values, double error) {
  const auto count = arguments.numel();
  if (count < kEnoughForAFunction) return {};
  const auto [sorted, order] = arguments.flatten().sort();
  const auto mapped = values.flatten().index_select(0, order);
  const auto before = [&](const Tensor& x) { return x.narrow(0, 0, count - 2); };
  const auto own = [&](const Tensor& x) { return x.narrow(0, 1, count - 2); };
  const auto after = [&](const Tensor& x) { return x.narrow(0, 2, count - 2); };
  const auto gap = after(sorted) - before(sorted);
  const auto between = before(mapped) + (after(mapped) - before(mapped)) * (own(sorted) - before(sorted)) /
                                            gap.clamp_min(1e-300);
  const auto dense = (gap > 0) & (gap <= 3 * gap.median());  // what is far from its neighbours tells nothing
  if (root_mean_square((own(mapped) - between).masked_select(dense)) > kSmooth * error) return {};
  const auto at = [](const Tensor& x, std::int64_t place) { return x[place].item<double>(); };
  const auto low = count / 10, high = count - 1;
  return {at(sorted, low), at(mapped, low), at(sorted, high), at(mapped, high)};
}

std::optional<Trait> of_function(const Values& values) {
  const auto numbers = function_of(values.expected, values.actual, values.error());
  return numbers.empty() ? std::nullopt : std::optional(Trait{Kind::function, "", numbers});
}

std::optional<Trait> of_activation(const WrongStage& wrong) {
  if (!wrong.gate || !wrong.up) return std::nullopt;
  const auto large = wrong.up->abs() > 0.1 * wrong.up->abs().max();
  const auto of_gate = [&](const Tensor& x) { return (x / *wrong.up).masked_select(large); };
  const auto seen = of_gate(wrong.actual);
  const auto numbers =
      function_of(wrong.gate->masked_select(large), seen, root_mean_square(seen - of_gate(wrong.expected)));
  return numbers.empty() ? std::nullopt : std::optional(Trait{Kind::activation, "", numbers});
}

// So many times what comes in, and so many times what is added, by least squares.
std::optional<Trait> of_addition(const WrongStage& wrong, const Values& values) {
  if (!wrong.branch) return std::nullopt;
  const Tensor &branch = *wrong.branch, residual = values.expected - branch;
  const auto product = [](const Tensor& a, const Tensor& b) { return (a * b).sum().item<double>(); };
  const double rr = product(residual, residual), rb = product(residual, branch), bb = product(branch, branch),
               xr = product(residual, values.actual), xb = product(branch, values.actual);
  const double determinant = rr * bb - rb * rb;
  if (determinant <= 1e-12 * rr * bb) return std::nullopt;
  const double first = (xr * bb - xb * rb) / determinant, second = (xb * rr - xr * rb) / determinant;
  if (!values.explained_by(first * residual + second * branch)) return std::nullopt;
  return Trait{Kind::combination, "", {first, second}};
}

// As if each position stood somewhere else. `length`: positions of the pass.
std::optional<Trait> of_rotation(const WrongStage& wrong, const Values& values, std::int64_t length) {
  const auto is_like = [&](const std::optional<Tensor>& other, std::int64_t position) {
    if (!other || other->sizes() != values.actual.sizes()) return false;
    const auto one = [&](const Tensor& x) { return x.select(1, position); };
    return Values{one(values.actual), one(values.expected)}.explained_by(one(*other));
  };
  const auto positions = values.actual.size(1);
  std::int64_t like = 0;
  while (like < positions && is_like(wrong.not_turned, like)) ++like;
  if (like == positions) return Trait{Kind::not_turned, "", {}};
  if (!wrong.turned) return std::nullopt;
  std::vector<std::optional<std::int64_t>> places(static_cast<std::size_t>(positions));
  for (std::int64_t later = 1; later <= 2 * length; ++later)
    for (const std::int64_t moved : {later, -later}) {
      const auto other = wrong.turned(moved);
      for (std::int64_t i = 0; i < positions; ++i)
        if (auto& found = places[static_cast<std::size_t>(i)]; !found && is_like(other, i)) found = moved;
    }
  if (std::any_of(places.begin(), places.end(), [](const auto& one) { return !one; })) return std::nullopt;
  const auto [least, most] = std::minmax_element(places.begin(), places.end());
  return Trait{Kind::turned, "", {static_cast<double>(**least), static_cast<double>(**most)}};
}

// Probabilities that do not add up to 1, (B, H, T, S).
std::optional<Trait> of_sums(const Tensor& probabilities) {
  const auto sums = probabilities.sum(-1);
  if ((sums - 1).abs().max().item<double>() < 1e-2) return std::nullopt;
  return Trait{Kind::sums, "", {sums.min().item<double>(), sums.max().item<double>()}};
}

// Of a stage with heads as its third axis, before it is narrowed.
std::optional<Trait> of_joined_heads(const Values& whole) {
  if (whole.expected.dim() != 4 || whole.expected.size(2) == 1) return std::nullopt;
  if (auto heads = of_heads(whole)) return heads;
  if (whole.explained_by(whole.expected.transpose(2, 3).reshape(whole.expected.sizes())))
    return Trait{Kind::joined, "", {}};
  return std::nullopt;
}

// One simple account of what is wrong.
std::optional<Trait> simple_account(const WrongStage& wrong, const std::vector<std::string>& axes,
                                    std::int64_t length) {
  const Values values{wrong.actual, wrong.expected};
  std::optional<Trait> account;
  if (wrong.turned || wrong.not_turned) account = of_rotation(wrong, values, length);
  if (!account) account = of_addition(wrong, values);
  if (!account) account = of_all_elements(values, wrong.type);
  if (!account) account = of_parts(values, axes);
  if (!account && axes[1] == "position") account = of_positions(values);
  if (!account) account = of_activation(wrong);
  if (!account) account = of_function(values);
  return account;
}

}  // namespace

std::vector<Trait> traits_of(const WrongStage& given) {
  auto wrong = given;
  if (wrong.actual.sizes() != wrong.expected.sizes() || wrong.actual.numel() == 0) return {};
  const auto finite = wrong.actual.isfinite(), due = wrong.expected.isfinite();
  if (wrong.stage.kind == "scores") {
    if (const auto mask = of_mask(~wrong.actual.isneginf(), due)) return {*mask};
    for (auto* tensor : {&wrong.actual, &wrong.expected}) *tensor = tensor->masked_fill(~due, 0);
  }
  if (const auto broken = (~finite & due).sum().item<std::int64_t>(); broken > 0)
    return {{Kind::not_a_number, "", {static_cast<double>(broken)}}};
  if (wrong.stage.kind == "context" && wrong.head_size > 0)
    for (auto* tensor : {&wrong.actual, &wrong.expected, &wrong.bound})
      if (tensor->dim() == 3) *tensor = tensor->unflatten(-1, {-1, wrong.head_size});
  const auto axes = axes_of(wrong);
  if (axes[1] == "position")
    if (const auto heads = of_joined_heads({wrong.actual, wrong.expected})) return {*heads};
  if (wrong.stage.kind == "probabilities")
    if (const auto sums = of_sums(wrong.actual)) return {*sums};
  const auto length = wrong.expected.size(1);
  auto found = confine(wrong);
  if (auto account = simple_account(wrong, axes, length)) found.push_back(std::move(*account));
  return found;
}

}  // namespace plumbline
