// Where a model is wrong, as one sentence of the page.
#include <fmt/format.h>

#include "harness/result/conclusion_of_diagnosis.hpp"
#include "harness/result/conclusion_of_stages.hpp"
#include "harness/result/words.hpp"
#include "reports/html.hpp"
#include "reports/page_parts.hpp"
#include "reports/page_words.hpp"

namespace plumbline::reports {
namespace {

using Kind = StageConclusion::Kind;

// Where a model is wrong, in Chinese.
struct Chinese {
  const Page& page;
  const StageConclusion& one;
  const char* right = one.of_two ? "相同" : "正确";
  const char* wrong = one.of_two ? "不同" : "错误";

  std::string in_mode() const {
    return one.mode.empty() ? "" : fmt::format("在“{}”中，", page.translated(one.mode, 60));
  }

  std::string names() const {
    std::vector<std::string> all;
    for (const std::string& name : one.names) all.push_back(page.translated_situation(name, 100));
    return page.joined(all);
  }

  std::string of_stages() const {
    const auto stage = page.quoted(one.stage, 100);
    if (one.kind == Kind::wrong_stage)
      return in_mode() + (one.of_two ? fmt::format("{} 是第一个输入相同而输出不同的阶段", stage)
                                     : fmt::format("{} 是第一个输入正确而输出不符的阶段", stage));
    if (one.of_two)
      return fmt::format(
          "{}{} 是第一个不同的阶段，而所展示的各阶段由相同的输入都得到相同的输出：差别在它之前未展示的部分",
          in_mode(), stage);
    return fmt::format("{}所展示的各阶段都与其输入相符，而 {} 不正确：错误在 {} 之后未展示的部分", in_mode(),
                       stage, page.quoted(one.words, 100));
  }

  std::string of_blocks() const {
    if (one.kind == Kind::outside_blocks)
      return fmt::format("屏蔽所有层之后 logits 仍然{}：请检查嵌入、最后的归一化和输出头", wrong);
    if (one.kind == Kind::between_blocks)
      return fmt::format("每一层单独都{}：请检查各层如何衔接、残差连接以及层的顺序", right);
    const auto token = one.token_right
                           ? fmt::format("单个 token 时{}，请检查注意力分数、位置、掩码和 softmax", right)
                           : fmt::format("单个 token 时也{}，而此时注意力分数、位置和掩码都不起作用", wrong);
    return fmt::format("单独{}的层：{}；{}", wrong, names(), token);
  }

  std::string sentence() const {
    switch (one.kind) {
      case Kind::none:
        return "";
      case Kind::not_assessed:
        return "未评估：" + page.quoted(one.words, 400);
      case Kind::wrong_stage:
      case Kind::after_shown_stage:
        return of_stages();
      case Kind::no_pass:
        return one.of_two
                   ? fmt::format("试过的各种运行方式都相同；第一处差别在 {}", page.quoted(one.words, 100))
                   : "试过的各种运行方式都正确：未通过的内容不在其中";
      case Kind::other_passes:
        return fmt::format("24 个 token 的普通前向传播{}；{}的有：{}", right, wrong, names());
      case Kind::fixed_weights:
        return fmt::format("普通前向传播{}；它的权重无法设置，因此无法逐层屏蔽", wrong);
      case Kind::unusable_block:
        return fmt::format("普通前向传播{}；随后 {}", wrong, page.quoted(one.words, 300));
      default:
        return of_blocks();
    }
  }
};

// Why a model is wrong, in Chinese.
struct ChineseDiagnosis {
  const Page& page;
  const Diagnosis& found;

  std::string code(const std::vector<std::string>& defects) const {
    std::string all;
    for (const std::string& one : defects)
      all += fmt::format("{}<code>{}</code>", all.empty() ? "" : " 与 ", html::bdi(one, 100));
    return all;
  }

  std::string time_was_up() const {
    return found.tried > 0 ? fmt::format("；时间用尽，共尝试 {} 个假设", found.tried) : "";
  }

  std::string how() const {
    switch (found.basis) {
      case Basis::everything:
        return "在舍入误差内可由以下缺陷解释：";
      case Basis::declaration:
        return "它没有代码；其形状和设置与以下缺陷相符：";
      case Basis::no_pass:
        return "没有适合它的权重，因此没有运行；其形状和设置与以下缺陷相符：";
      case Basis::unsteady:
        return "同一个问题它给出两种回答，因此没有比较其回答；与以下缺陷相符：";
    }
    return "";
  }

  std::string explained() const {
    std::string all;
    for (const Explanation& one : found.explanations)
      all += fmt::format("{}{}", all.empty() ? "" : "，或 ", code(beside_shapes(found, one)));
    return how() + all + (found.explanations.size() > 1 ? "；已观测到的内容无法区分它们" : "");
  }

  std::string nearest() const {
    const Explanation& best = found.explanations.front();
    std::vector<std::string> not_explained;
    for (const std::string& one : best.open) not_explained.push_back(page.quoted(one, 100));
    if (explains_a_part(found))
      return fmt::format(
          "部分可由 {} 解释：在舍入误差内解释了 {} 项有差别的观测中的 {} "
          "项，且不改变其他观测；尚未解释：{}{}",
          code(beside_shapes(found, best)), found.differing, best.explained, page.joined(not_explained),
          time_was_up());
    if (!accounts_for_most(found))
      return fmt::format(
          "任何已知缺陷（单独或组合）都不能解释{}；最接近的也只解释了 {} 项有差别的观测中的 {} 项",
          time_was_up(), found.differing, best.explained);
    return fmt::format("任何已知缺陷（单独或组合）都不能完全解释{}；类似的缺陷是 {}；未能解释：{}",
                       time_was_up(), code(beside_shapes(found, best)), page.joined(not_explained));
  }

  std::string by_outcome() const {
    switch (found.outcome) {
      case Outcome::not_assessed:
        return "未评估：" + page.quoted(found.words, 400);
      case Outcome::errors_alone:
        return fmt::format("没有已知缺陷能够解释：{} 项观测中有 {} 项以错误结束，首先是 {}；其余都正确",
                           found.observations, found.raised, page.quoted(found.words, 100));
      case Outcome::as_specified:
        return "名称、形状和设置都与规格一致";
      case Outcome::explained:
        return explained();
      case Outcome::nearest:
        return nearest();
      case Outcome::unexplained:
        return "任何已知缺陷（单独或组合）都不能解释" + time_was_up();
      case Outcome::recorded:
        return page.quoted(found.words, 600);
    }
    return "";
  }

  std::string sentence() const {
    std::string all = by_outcome();
    const std::string shapes = code(found.shapes);
    if (!found.shapes.empty())
      all = found.outcome == Outcome::explained && found.explanations.front().defects == found.shapes
                ? fmt::format("在舍入误差内可由 {} 解释；换用与其形状相符的权重后，其余一切正确", shapes)
                : fmt::format("它的形状和设置与 {} 相符；换用与其形状相符的权重后：{}", shapes, all);
    if (found.known > 0)
      all +=
          fmt::format("；{} 个已知缺陷中有 {} 个只存在于代码中，检查点无法判定：请同时评判训练和运行它的代码",
                      found.known, found.undecided.size());
    return all;
  }
};

}  // namespace

std::string diagnosis_sentence(const Page& page, const Diagnosis& found) {
  if (page.language == Language::chinese) return ChineseDiagnosis{page, found}.sentence();
  return page.quoted(capitalised(sentence_of(found)), 600);
}

std::string stage_sentence(const Page& page) {
  const StageConclusion conclusion = stage_conclusion(page.result);
  if (page.language == Language::chinese) return Chinese{page, conclusion}.sentence();
  return page.quoted(capitalised(sentence_of(conclusion)), 600);
}

}  // namespace plumbline::reports
