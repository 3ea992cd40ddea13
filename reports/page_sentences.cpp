#include <fmt/format.h>

#include <algorithm>

#include "harness/result/conclusion_of_diagnosis.hpp"
#include "harness/result/musts.hpp"
#include "harness/result/words.hpp"
#include "harness/system/visible.hpp"
#include "reports/page_words.hpp"

namespace plumbline::reports {
namespace {

struct Chinese {
  const Result& result;
  const Translation* translation;
  Musts musts = musts_of(result);

  // `is`: what leads over to its statement, which by itself would read as what was found.
  std::string first(const Requirement* requirement, const char* is = "：") const {
    if (requirement == nullptr) return "";
    const std::string* known = translation == nullptr ? nullptr : translation->find(requirement->statement);
    return fmt::format("，首先是 {}{}{}", visible(requirement->id, 40), is,
                       visible(known == nullptr ? requirement->statement : *known, 200));
  }

  std::string first_failed() const {
    const std::string causes = result.diagnosis ? named_causes(*result.diagnosis, "、") : std::string();
    if (causes.empty()) return first(musts.failed, "，它要求：");
    return fmt::format("，{}由 {} 解释", result.diagnosis->outcome == Outcome::explained ? "" : "其中一部分",
                       causes);
  }

  std::string subject() const {
    const std::string& kind = result.header.candidate_kind;
    return kind == "checkpoint" ? "该检查点" : kind == "state_dict" ? "该状态字典" : "该模型";
  }

  std::string about_waivers() const {
    return (!musts.waived.empty() ? fmt::format("；另有 {} 项已豁免", musts.waived.size()) : "") +
           (!musts.expired.empty() ? fmt::format("；其中 {} 项的豁免已过期", musts.expired.size()) : "");
  }

  std::string cannot(const std::string& what) const {
    if (musts.error == nullptr)
      return fmt::format("豁免有误：{} 已豁免，却并没有未通过；请去掉该豁免后重新运行",
                         visible(musts.idle.front()->requirement, 40));
    return fmt::format("{}：{} 项{}中有 {} 项没有可用的证据{}", what, musts.asked(),
                       result.header.baseline ? "比较" : "强制要求", musts.counts.errors, first(musts.error));
  }

  std::string conforms(const std::string& target) const {
    const int unmet = result.footer.failed - static_cast<int>(musts.waived.size());
    const std::string but =
        (unmet > 0 ? fmt::format("；有 {} 项建议未满足", unmet) : "") +
        (!musts.waived.empty() ? fmt::format("；有 {} 项未通过的强制要求已获豁免", musts.waived.size()) : "");
    const std::string& kind = result.header.candidate_kind;
    if (kind == "checkpoint") return fmt::format("权重和配置符合 {}；运行它们的代码未经评判{}", target, but);
    if (kind == "state_dict")
      return fmt::format("权重符合 {}；配置和运行它们的代码均未经评判{}", target, but);
    return fmt::format("该模型符合 {}：{} 项要求通过{}", target, result.footer.passed, but);
  }

  std::string incomplete() const {
    if (musts.counts.not_assessed > 0)
      return fmt::format("没有未通过的要求，但有 {} 项适用的强制要求未评估{}", musts.counts.not_assessed,
                         first(musts.not_assessed));
    if (const auto& shard = result.header.shard)
      return fmt::format("{} 个分片中的第 {} 个{}；其余由其他分片承担，合并后才有结论", shard->of,
                         shard->index, musts.counts.passed == 0 ? "什么也没有检查" : "各项要求全部成立");
    if (musts.counts.passed == 0) return "没有未通过的要求，但什么也没有检查";
    return fmt::format("{}的各项强制要求全部成立；其余没有检查",
                       visible(scope_sentence(result.header, Language::chinese), 100));
  }

  std::string judged() const {
    const std::string target =
        result.header.specification.empty() ? "规格" : visible(result.header.specification, 100);
    switch (result.footer.status) {
      case 0:
        return conforms(target);
      case 1:
        return fmt::format("{}不符合 {}：{} 项强制要求中有 {} 项未通过{}{}", subject(), target, musts.asked(),
                           musts.counts.failed, first_failed(), about_waivers());
      case 2:
        return cannot(subject() + "无法评判");
      default:
        return incomplete() + about_waivers();
    }
  }

  std::string same(const std::string& candidate, const std::string& baseline) const {
    int compared = 0, identical = 0;
    bool ran = false;
    for (const Requirement& requirement : result.requirements) {
      ran = ran || (requirement.chapter > 1 && requirement.verdict != Verdict::not_applicable);
      for (const Check& check : requirement.checks)
        if (check.identical) ++compared, identical += *check.identical ? 1 : 0;
    }
    if (!ran && compared == 0)
      return fmt::format("{} 与 {} 所声明的内容没有差别；没有比较权重，也没有运行代码", candidate, baseline);
    if (!ran) return fmt::format("{} 与 {} 所含的内容没有差别；没有运行代码", candidate, baseline);
    if (compared == identical)
      return fmt::format("{} 与 {} 在所比较的全部内容上逐位相同", candidate, baseline);
    return fmt::format("{} 与 {} 除舍入误差外没有差别；{} 个张量中有 {} 个逐位相同", candidate, baseline,
                       compared, identical);
  }

  std::string compared() const {
    const std::string baseline = visible(result.header.baseline->name, 80);
    const std::string candidate = visible(result.header.candidate, 80);
    switch (result.footer.status) {
      case 0:
        return same(candidate, baseline);
      case 1:
        return fmt::format("{} 与 {} 有差别：{} 项比较中有 {} 项不同{}", candidate, baseline, musts.asked(),
                           musts.counts.failed, first(musts.failed, "，它要求："));
      case 2:
        return cannot(fmt::format("{} 与 {} 无法比较", candidate, baseline));
      default:
        return musts.counts.not_assessed == 0
                   ? "没有发现差别，但什么也没有比较"
                   : fmt::format("没有发现差别，但 {} 项比较中有 {} 项无法进行{}", musts.asked(),
                                 musts.counts.not_assessed, first(musts.not_assessed));
    }
  }
};

}  // namespace

Verdict verdict_of(int status) {
  return status == 0   ? Verdict::pass
         : status == 1 ? Verdict::fail
         : status == 3 ? Verdict::not_assessed
                       : Verdict::error;
}

Word word_of_status(const Header& header, int status) {
  const bool two = header.baseline.has_value();
  switch (verdict_of(status)) {
    case Verdict::pass:
      return two ? Word::same : Word::conforms;
    case Verdict::fail:
      return two ? Word::different : Word::fails;
    case Verdict::not_assessed:
      return Word::incomplete;
    default:
      return two ? Word::cannot_compare : Word::cannot_judge;
  }
}

bool is_idle(const Waiver& waiver, const Requirement& requirement, const Header& header) {
  const bool needs_none =
      requirement.verdict == Verdict::pass || requirement.verdict == Verdict::not_applicable;
  return needs_none && waiver.requirement == requirement.id && in_force(waiver, header);
}

std::string capitalised(std::string sentence) {
  if (!sentence.empty() && sentence.front() >= 'a' && sentence.front() <= 'z')
    sentence.front() = static_cast<char>(sentence.front() - 'a' + 'A');
  return sentence;
}

std::string verdict_sentence(const Result& result, Language language, const Translation* translation) {
  if (language == Language::chinese) {
    const Chinese chinese{result, translation};
    return result.header.baseline ? chinese.compared() : chinese.judged();
  }
  std::string sentence = result.footer.verdict;
  constexpr std::string_view known = "incomplete: ";
  if (sentence.starts_with(known)) sentence.erase(0, known.size());
  return capitalised(std::move(sentence));
}

std::string scope_sentence(const Header& header, Language language) {
  std::string scope = scope_in_words(header.scope);
  if (language == Language::english) return scope;
  for (const char* start : {"chapters ", "chapter "}) {
    if (!scope.starts_with(start)) continue;
    std::string numbers = scope.substr(std::string_view(start).size());
    if (const std::size_t last = numbers.find(" and "); last != std::string::npos)
      numbers.replace(last, 5, ", ");
    if (numbers.find_first_not_of("0123456789, ") != std::string::npos) return scope;
    for (std::size_t at = 0; (at = numbers.find(", ")) != std::string::npos;) numbers.replace(at, 2, "、");
    return fmt::format("第 {} 章", numbers);
  }
  return scope;
}

}  // namespace plumbline::reports
