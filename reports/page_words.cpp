#include "reports/page_words.hpp"

#include <array>

namespace plumbline::reports {
namespace {

struct Entry {
  Word word;
  const char *english, *chinese;
};

// clang-format off
constexpr std::array<Entry, word_count> table = {{
    {Word::report, "Compliance report", "符合性报告"},
    {Word::skip, "Skip to the requirements", "跳到各项要求"},
    {Word::conforms, "Conforms", "符合"},
    {Word::fails, "Does not conform", "不符合"},
    {Word::cannot_judge, "Could not be judged", "无法评判"},
    {Word::incomplete, "Incomplete", "不完整"},
    {Word::same, "No difference", "没有差别"},
    {Word::different, "A difference", "有差别"},
    {Word::cannot_compare, "Could not be compared", "无法比较"},
    {Word::pass, "pass", "通过"},
    {Word::fail, "fail", "未通过"},
    {Word::error, "error", "错误"},
    {Word::not_assessed, "not assessed", "未评估"},
    {Word::not_applicable, "not applicable", "不适用"},
    {Word::should, "should", "建议"},
    {Word::waived, "waived", "已豁免"},
    {Word::passed_count, "{} passed", "{} 项通过"},
    {Word::failed_count, "{} failed", "{} 项未通过"},
    {Word::error_count, "{} without usable evidence", "{} 项没有可用的证据"},
    {Word::not_assessed_count, "{} not assessed", "{} 项未评估"},
    {Word::not_applicable_count, "{} not applicable", "{} 项不适用"},
    {Word::waived_count, "{} of them waived", "其中 {} 项已豁免"},
    {Word::compared_in, "{} elements compared in {} s", "比较了 {} 个元素，用时 {} 秒"},
    {Word::longest_pass, "the longest pass had {} tokens", "最长的一次前向为 {} 个词元"},
    {Word::shard, "This is part {0} of {1} of one run. It decides nothing by itself: the verdict is that of all {1} parts together, merged.", "这是一次运行 {1} 个分片中的第 {0} 个，单独不构成任何结论：合并全部 {1} 个分片之后才有结论。"},
    {Word::only, "Only a part was asked for: {}. The rest was not looked at.", "只检查了一部分：{}。其余没有检查。"},
    {Word::waivers, "Waivers", "豁免"},
    {Word::waiver_in_force, "In force: a failure of this requirement does not decide the verdict.", "有效：该要求未通过不影响结论。"},
    {Word::waiver_expired, "Expired: it no longer excuses a failure.", "已过期：不再有豁免作用。"},
    {Word::waiver_unneeded, "In force, and wrong: the requirement did not fail.", "有效但有误：该要求并没有未通过。"},
    {Word::answered_by, "answered for by {}", "责任人：{}"},
    {Word::until, "until {}", "有效期至 {}"},
    {Word::judged, "What was judged", "评判对象"},
    {Word::candidate, "Candidate", "候选模型"},
    {Word::baseline, "Compared with", "比较对象"},
    {Word::kind, "Kind", "种类"},
    {Word::specification, "Specification", "规格"},
    {Word::specification_hash, "SHA-256 of the specification", "规格的 SHA-256"},
    {Word::candidate_hash, "SHA-256 of the candidate", "候选模型的 SHA-256"},
    {Word::baseline_hash, "SHA-256 of what it is compared with", "比较对象的 SHA-256"},
    {Word::full_hashes, "The hashes in full", "完整的散列值"},
    {Word::no_hash, "none: there are no files of its own", "无：没有自己的文件"},
    {Word::device, "Device", "设备"},
    {Word::dtype, "Type", "数据类型"},
    {Word::threads, "Threads", "线程数"},
    {Word::seed, "Seed", "随机种子"},
    {Word::versions, "Versions", "版本"},
    {Word::started, "Started", "开始时间"},
    {Word::scope, "Scope", "范围"},
    {Word::everything, "everything", "全部"},
    {Word::commit, "Git commit", "Git 提交"},
    {Word::commit_clean, "nothing uncommitted", "没有未提交的改动"},
    {Word::commit_dirty, "with uncommitted changes", "有未提交的改动"},
    {Word::command, "Command", "命令"},
    {Word::notes, "Notes", "备注"},
    {Word::kind_reference, "the built-in reference", "内置参考模型"},
    {Word::kind_defect, "the built-in reference with a mistake planted in it", "植入了错误的内置参考模型"},
    {Word::kind_variant, "the built-in reference, computed in another way", "以另一种方式计算的内置参考模型"},
    {Word::kind_checkpoint, "a checkpoint", "检查点"},
    {Word::kind_state_dict, "a state dict", "状态字典"},
    {Word::kind_live, "a live model", "运行中的模型"},
    {Word::kind_pair, "two candidates", "两个候选模型"},
    {Word::made_at, "The code is at {}: {}", "代码在 {}：{}"},
    {Word::where_wrong, "Where it goes wrong", "错在哪里"},
    {Word::where_different, "Where they differ", "差在哪里"},
    {Word::first_wrong, "First locally wrong", "首个自身出错的阶段"},
    {Word::first_wrong_note, "the first stage that does not follow from its own inputs", "输入正确时输出仍不符的第一个阶段：错误就在这里"},
    {Word::first_divergent, "First divergent", "首个偏离的阶段"},
    {Word::first_divergent_note, "the first stage that differs from an exact pass", "第一个与精确计算不同的阶段"},
    {Word::no_local, "No stage that was shown is locally wrong.", "所展示的阶段中没有自身出错的。"},
    {Word::musts_note, "{0} of the requirements are mandatory and were judged; the verdict is about these", "其中 {0} 项为强制要求并已评判，结论只取决于它们"},
    {Word::got_expected, "{0}: got {1}, expected {2}", "{0}：得到 {1}，应为 {2}"},
    {Word::off_and_allowed, "off by {0}, allowed {1}", "相差 {0}，容差 {1}"},
    {Word::now_before, "{0}: now {1}, before {2}", "{0}：现为 {1}，之前为 {2}"},
    {Word::beyond, "{0} of {1} elements are off", "{1} 个元素中有 {0} 个超出容差"},
    {Word::off_on_the_whole, "{0}: off by {1} on the whole, the root mean square of {2} elements, allowed {3}", "{0}：{2} 个元素的均方根偏差为 {1}，容差 {3}"},
    {Word::largest_change, "{0}: the largest change is {1}, expected {2}", "{0}：最大变化为 {1}，应为 {2}"},
    {Word::all_finite, "{0}: all {1} elements are finite", "{0}：全部 {1} 个元素均为有限值"},
    {Word::not_finite, "{0} of {1} elements are not finite", "{1} 个元素中有 {0} 个不是有限值"},
    {Word::not_bounded, "{0}: its tolerance is not finite", "{0}：容差不是有限值"},
    {Word::same_bits, "{0}: the same bits", "{0}：逐位相同"},
    {Word::is_said, "{0}: {1}", "{0} 的结果：{1}"},
    {Word::why, "Why", "原因"},
    {Word::undecided, "Not decided", "尚不能判定"},
    {Word::explained_counts, "{0} of {1} differing observations accounted for, {2} contradicted", "有差别的观测共 {1} 项，解释了 {0} 项，与 {2} 项矛盾"},
    {Word::cause, "Cause", "原因"},
    {Word::what_it_is, "What it is", "是什么"},
    {Word::accounts_for, "Failures that it accounts for", "它造成的未通过要求"},
    {Word::only_together, "all of them together", "全部原因合在一起"},
    {Word::not_reproduced, "none of them: open", "均不能解释：待查"},
    {Word::not_asked, "not tried", "没有试"},
    {Word::advice, "Advice", "建议做法"},
    {Word::chapters, "Chapter by chapter", "各章概览"},
    {Word::chapter, "Chapter", "章"},
    {Word::chapters_note, "Each mark leads to its requirement.", "每个标记都链接到对应的要求。"},
    {Word::pictures, "Pictures", "图示"},
    {Word::stages_title, "Error of each stage, in execution order", "各阶段的误差（按执行顺序）"},
    {Word::stages_note, "Each error as a share of its tolerance; above the line is wrong. Local: the error on the inputs that the stage had. Inherited: the difference from an exact pass, with the errors of earlier stages.", "纵轴为误差与容差之比，高于横线即为错误。局部：该阶段对自身输入的计算误差；继承：与精确计算相比的误差，包含此前的全部错误。"},
    {Word::stages_description, "{0} stages in the mode {1}. First divergent: {2}. First locally wrong: {3}.", "{1} 模式下的 {0} 个阶段。首个偏离：{2}。首个自身出错：{3}。"},
    {Word::stage, "Stage", "阶段"},
    {Word::layer, "layer {}", "第 {} 层"},
    {Word::local, "local", "局部"},
    {Word::inherited, "inherited", "继承"},
    {Word::not_shown, "not shown", "未展示"},
    {Word::no_error, "no error", "没有误差"},
    {Word::of_tolerance, "{} of its tolerance", "误差为容差的 {}"},
    {Word::times_tolerance, "{} times its tolerance", "误差为容差的 {} 倍"},
    {Word::tolerance, "tolerance", "容差"},
    {Word::tolerance_is, "error / tolerance", "误差 / 容差"},
    {Word::log_axis, "logarithmic", "对数"},
    {Word::situations_title, "Which ways to run it are right", "哪些运行方式是对的"},
    {Word::situations_different, "Which ways to run them are the same", "哪些运行方式相同"},
    {Word::situation, "Way to run it", "运行方式"},
    {Word::right, "right", "正确"},
    {Word::wrong, "wrong", "错误"},
    {Word::is_same, "the same", "相同"},
    {Word::is_different, "different", "不同"},
    {Word::margins_title, "How near to its tolerance", "离容差有多近"},
    {Word::margins_note, "The worst check of each requirement, as a share of what is allowed. Further left is further from failing.", "每项要求中最差的检查与容差之比，越靠左离未通过越远。"},
    {Word::margins_description, "{0} requirements with a measured margin. The nearest of each chapter: {1}.", "{0} 项要求有可度量的余量。各章中最接近容差的：{1}。"},
    {Word::margins_exact, "{} requirements rest on exact or other comparisons, which have no margin.", "{} 项要求依靠精确比较或其他检查，没有余量可言。"},
    {Word::requirement, "Requirement", "要求"},
    {Word::verdict, "Verdict", "结论"},
    {Word::same_numbers, "The same numbers as a table", "同样的数字（表格）"},
    {Word::first_rows, "The first {0} of {1} rows.", "共 {1} 行，此处为前 {0} 行。"},
    {Word::edges, "Values of 0 or less lie on the lower edge, NaN and infinite values on the upper.", "不大于 0 的值画在下边缘，非数或无穷大画在上边缘。"},
    {Word::no_points, "no points", "没有数据点"},
    {Word::series, "Series", "序列"},
    {Word::plot_description, "{0} over {1}. {2}", "纵轴 {0}，横轴 {1}。{2}"},
    {Word::cache_title, "Memory of the KV cache", "键值缓存占用的内存"},
    {Word::cache_held, "held", "实际占用"},
    {Word::cache_needed, "what the key/value heads need", "键值头所需"},
    {Word::cache_queries, "queries of the same positions take", "同样位置的查询所占"},
    {Word::cache_multi_head, "multi-head attention needs", "多头注意力所需"},
    {Word::bytes, "bytes", "字节"},
    {Word::causality_title, "Which positions each token changes", "谁影响谁"},
    {Word::causality_value, "largest change of a logit at the column's position when the row's token is changed; left of that token, the largest change at all these positions", "改动该行的词元之后，各位置 logits 的最大变化；在该词元之前的各列为全部位置中的最大值"},
    {Word::causality_row, "token {0} ({1})", "词元 {0}（{1}）"},
    {Word::matrix_description, "{0} rows and {1} columns of: {2}. From {3} to {4}.", "{0} 行 {1} 列，数值为：{2}。范围从 {3} 到 {4}。"},
    {Word::matrix_cut, "The first {0} of {1} rows and {2} of {3} columns.", "共 {1} 行、{3} 列，此处为前 {0} 行、{2} 列。"},
    {Word::matrix_range, "A stronger colour means a larger value: from {} to {}.", "颜色越深数值越大：从 {} 到 {}。"},
    {Word::requirements, "Requirements and their evidence", "各项要求与证据"},
    {Word::filter, "Filter", "筛选"},
    {Word::filter_text, "Text", "文字"},
    {Word::filter_verdicts, "Verdicts", "结论"},
    {Word::reason, "Reason", "理由"},
    {Word::outside_only, "--only did not ask for it.", "不在 --only 的范围内。"},
    {Word::outside_shard, "It is for another shard; this one is {0} of {1}.", "由其他分片检查；这是 {1} 个分片中的第 {0} 个。"},
    {Word::finding, "Finding", "测得"},
    {Word::findings, "What was seen", "看到的现象"},
    {Word::checks, "Checks of {}", "{} 的各项检查"},
    {Word::check, "Check", "检查"},
    {Word::expected, "Expected", "预期"},
    {Word::seen, "Seen", "实际"},
    {Word::off_by, "Off by", "相差"},
    {Word::allowed, "Allowed", "容差"},
    {Word::allowed_because, "Reason for the tolerance", "容差的依据"},
    {Word::elements, "Elements", "元素数"},
    {Word::worst_at, "Worst at", "最差位置"},
    {Word::in_words, "In words", "原文"},
    {Word::more_failed, "{} more checks did not hold; they are in result.json.", "另有 {} 项检查不成立，见 result.json。"},
    {Word::more_passed, "{} more checks held, with more room than these.", "另有 {} 项检查成立，余量都比以上各项大。"},
    {Word::nothing_compared, "Nothing was compared.", "没有比较任何内容。"},
    {Word::source, "Source", "出处"},
    {Word::took, "Took {} s", "用时 {} 秒"},
    {Word::repeat, "Run this chapter again", "重新运行本章"},
    {Word::repeat_all, "Run it again", "重新运行"},
    {Word::to_top, "Back to the verdict", "回到结论"},
    {Word::colophon, "Made by Plumbline {} from one result document and nothing else.", "由 Plumbline {} 仅依据一份结果文档生成。"},
    {Word::side_by_side, "{} candidates side by side", "{} 个候选模型对照"},
    {Word::side_by_side_note, "Each mark leads to the requirement in that candidate’s own part of this page.", "每个标记都链接到本页中该候选模型的对应要求。"},
    {Word::not_in_it, "not in its document", "其文档中没有"},
    {Word::candidate_number, "Candidate {}", "候选模型 {}"},
}};
// clang-format on

constexpr bool in_order() {
  for (std::size_t i = 0; i < table.size(); ++i)
    if (static_cast<std::size_t>(table[i].word) != i) return false;
  return true;
}
static_assert(in_order());

}  // namespace

const char* say(Word word, Language language) {
  const Entry& entry = table[static_cast<std::size_t>(word)];
  return language == Language::chinese ? entry.chinese : entry.english;
}

Word word_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::pass:
      return Word::pass;
    case Verdict::fail:
      return Word::fail;
    case Verdict::error:
      return Word::error;
    case Verdict::not_assessed:
      return Word::not_assessed;
    case Verdict::not_applicable:
      return Word::not_applicable;
  }
  return Word::error;
}

const char* style_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::pass:
      return "pass";
    case Verdict::fail:
      return "fail";
    case Verdict::error:
      return "error";
    case Verdict::not_assessed:
      return "open";
    case Verdict::not_applicable:
      return "none";
  }
  return "error";
}

}  // namespace plumbline::reports
