#include "harness/text/repetition.hpp"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <future>
#include <new>
#include <set>
#include <stdexcept>
#include <unordered_map>

#include "harness/system/error.hpp"
#include "harness/system/files.hpp"

namespace plumbline {
namespace {

constexpr std::size_t kLengths[] = {1, 2, 3, 4, 8};     // of n-grams
constexpr std::size_t kWindows[] = {16, 32, 128, 512};  // of rep/l
constexpr std::size_t kLongest = 8;
constexpr std::size_t kZipfRanks = 5000, kLeastTypes = 10;

constexpr const char* kWelleck =
    "Welleck et al. 2020, Neural Text Generation with Unlikelihood Training, section 6.1";
constexpr const char* kSu =
    "Su et al. 2022, A Contrastive Framework for Neural Text Generation, section 4.1.2";
constexpr const char* kHoltzman = "Holtzman et al. 2020, The Curious Case of Neural Text Degeneration";
constexpr const char* kShaib = "Shaib et al. 2024, Standardizing the Measurement of Text Diversity";

// How many of a sequence's numbers are distinct; `seen` holds, for each number, who saw it last.
std::size_t distinct_in(const std::vector<std::uint32_t>& numbers, std::vector<std::uint32_t>& seen,
                        std::uint32_t mark) {
  std::size_t distinct = 0;
  for (const auto number : numbers)
    if (seen[number] != mark) seen[number] = mark, ++distinct;
  return distinct;
}

// Which of the last `window` tokens each is among: how far back the nearest equal one is; 0: there is none.
std::vector<std::size_t> distances_back(Sequence context, Sequence asked) {
  std::unordered_map<Token, std::size_t> last;
  std::vector<std::size_t> back(context.size(), 0);
  for (std::size_t i = 0; i < context.size(); ++i) {
    if (const auto found = last.find(asked[i]); found != last.end()) back[i] = i - found->second;
    last[context[i]] = i;
  }
  return back;
}

class Measuring {
 public:
  Measuring(const Samples& samples, const std::vector<Token>& sentence_ends)
      : samples_(samples), sentence_ends_(sentence_ends.begin(), sentence_ends.end()) {
    for (const auto& sample : samples.all) sequences_.emplace_back(sample.tokens);
  }

  Repetition all() {
    // Independent of each other, and of about the same length.
    using Part = std::vector<Metric> (Measuring::*)();
    std::vector<std::future<std::vector<Metric>>> parts;
    for (const Part part : {&Measuring::n_grams, &Measuring::windows, &Measuring::loops,
                            &Measuring::longest_repeats, &Measuring::sentences, &Measuring::ends,
                            &Measuring::compression, &Measuring::zipf, &Measuring::bleu})
      parts.push_back(std::async(std::launch::async, part, this));
    for (auto& part : parts)
      for (auto& metric : part.get()) result_.metrics.push_back(std::move(metric));
    return std::move(result_);
  }

 private:
  // The value of what each sample contributes to; `short_of` says what a sample has to have.
  static void conclude(Metric& metric, const std::string& short_of) {
    std::vector<Share> measurable;
    for (const auto& share : metric.shares)
      if (share.under > 0) measurable.push_back(share);
    metric.measured = measurable.size();
    if (measurable.empty())
      metric.reason = short_of;
    else
      metric.value = estimate(measurable);
  }

  std::vector<Metric> n_grams() {
    std::vector<Metric> per_sample, pooled, distinct;
    double diversity = 1;
    bool diverse = true;
    NGrams grams(sequences_);
    for (std::size_t n = 1; n <= kLongest; ++n) {
      if (n > 1) grams.lengthen();
      if (std::find(std::begin(kLengths), std::end(kLengths), n) == std::end(kLengths)) continue;
      std::vector<std::uint32_t> seen(grams.distinct(), 0xffffffff);
      std::vector<Share> shares;
      for (std::size_t s = 0; s < sequences_.size(); ++s) {
        const auto& numbers = grams.numbers()[s];
        const auto distinct_here = distinct_in(numbers, seen, static_cast<std::uint32_t>(s));
        shares.push_back(
            {static_cast<double>(numbers.size() - distinct_here), static_cast<double>(numbers.size())});
      }
      const auto short_of = fmt::format("no sample has two {}-grams", n);
      Metric one{fmt::format("seq-rep-{}", n),
                 fmt::format("repeated {}-grams, mean over samples", n),
                 fmt::format("{}, seq-rep-n", kWelleck),
                 "1 - distinct n-grams / n-grams of each sample, then the mean",
                 Kind::mean,
                 1,
                 {},
                 {},
                 {},
                 0};
      // One n-gram alone cannot repeat.
      for (const auto& share : shares)
        one.shares.push_back(share.under > 1 ? Share{share.over / share.under, 1} : Share{});
      conclude(one, short_of);
      Metric sum{fmt::format("rep-{}", n),
                 fmt::format("repeated {}-grams, pooled", n),
                 fmt::format("{}, rep-n", kSu),
                 "1 - sum of each sample's distinct n-grams / sum of n-grams, as a share and not in percent; "
                 "the last "
                 "n-gram counts",
                 Kind::ratio,
                 1,
                 {},
                 {},
                 shares,
                 0};
      conclude(sum, short_of);
      if (!one.value) sum.value.reset(), sum.reason = short_of;
      per_sample.push_back(std::move(one));
      if (n >= 2 && n <= 4) {
        diverse = diverse && sum.value.has_value();
        diversity *= 1 - sum.value.value_or(0);
      }
      pooled.push_back(std::move(sum));
      if (n > 4) continue;
      Metric types{
          fmt::format("distinct-{}", n),
          fmt::format("distinct {}-grams a token, all samples together", n),
          "Li et al. 2016, A Diversity-Promoting Objective Function for Neural Conversation Models, section "
          "5.2",
          "distinct n-grams of all samples / tokens of all samples; depends on how much text there is",
          Kind::whole,
          -1,
          {},
          {},
          {},
          samples_.all.size()};
      std::size_t places = 0;
      for (const auto& numbers : grams.numbers()) places += numbers.size();
      if (places >= 2)
        types.value = static_cast<double>(grams.distinct()) / static_cast<double>(samples_.tokens());
      else
        types.reason = fmt::format("there are no two {}-grams", n);
      distinct.push_back(std::move(types));
    }
    for (auto* group : {&pooled, &distinct})
      for (auto& metric : *group) per_sample.push_back(std::move(metric));
    Metric product{"diversity",
                   "product of 1 - rep-n, n = 2, 3, 4",
                   fmt::format("{}, diversity", kSu),
                   "of the pooled rep-n above",
                   Kind::whole,
                   -1,
                   {},
                   {},
                   {},
                   samples_.all.size()};
    if (diverse)
      product.value = diversity;
    else
      product.reason = "no sample has two 4-grams";
    per_sample.push_back(std::move(product));
    return per_sample;
  }

  // rep/l and wrep/l.
  std::vector<Metric> windows() {
    const auto has = [](const Sample& sample) { return !sample.predicted.empty(); };
    const bool predicted = std::any_of(samples_.all.begin(), samples_.all.end(), has) &&
                           std::all_of(samples_.all.begin(), samples_.all.end(), [&](const Sample& sample) {
                             return sample.tokens.empty() || has(sample);
                           });
    std::vector<std::vector<std::size_t>> back;
    for (const auto& sample : samples_.all)
      back.push_back(distances_back(sample.tokens, predicted ? sample.predicted : sample.tokens));
    std::vector<Metric> metrics;
    for (const auto window : kWindows) {
      Metric rep{fmt::format("rep/{}", window),
                 fmt::format("tokens that stand among the {} before them", window),
                 fmt::format("{}, rep/l", kWelleck),
                 predicted ? "of the model's choices for the given text"
                           : "of the text's own tokens from the second on",
                 Kind::ratio,
                 1,
                 {},
                 {},
                 {},
                 0};
      Metric wrong{fmt::format("wrep/{}", window),
                   fmt::format("wrong choices that stand among the {} tokens before them", window),
                   fmt::format("{}, wrep/l", kWelleck),
                   "of all choices; right ones do not count",
                   Kind::ratio,
                   1,
                   {},
                   {},
                   {},
                   0};
      for (std::size_t s = 0; s < samples_.all.size(); ++s) {
        const auto& sample = samples_.all[s];
        const std::size_t first = predicted ? 0 : 1;
        Share share, of_wrong;
        for (std::size_t i = first; i < back[s].size(); ++i) {
          const bool repeats = back[s][i] > 0 && back[s][i] <= window;
          share.over += repeats ? 1 : 0;
          if (predicted) of_wrong.over += repeats && sample.predicted[i] != sample.tokens[i] ? 1 : 0;
        }
        share.under = back[s].size() > first ? static_cast<double>(back[s].size() - first) : 0;
        rep.shares.push_back(share);
        if (predicted) wrong.shares.push_back({of_wrong.over, share.under});
      }
      conclude(rep, "no sample has two tokens");
      conclude(wrong, "the model's own choices for a given text are not recorded ('predicted')");
      metrics.push_back(std::move(rep));
      metrics.push_back(std::move(wrong));
    }
    return metrics;
  }

  std::vector<Metric> loops() {
    Metric tail{
        "tail-repetition",
        "samples that end in a phrase repeated over and over",
        fmt::format("{}, section 5 and its published code", kHoltzman),
        "phrases of 1 to 90 tokens; of 3 tokens or more repeated at once, of 1 or 2 more than 50 times",
        Kind::rate,
        1,
        {},
        {},
        {},
        0};
    Metric looping{
        "looping",
        "samples that end in a loop",
        "Plumbline",
        fmt::format("a block of any length said at least {} times in a row, {} tokens in all, to the end",
                    kLeastTimes, kLeastLoopTokens),
        Kind::rate,
        1,
        {},
        {},
        {},
        0};
    Metric share{"loop-share", "share of a sample in its longest loop",
                 "Plumbline",  "wherever in the sample; mean over samples",
                 Kind::mean,   1,
                 {},           {},
                 {},           0};
    for (const auto& tokens : sequences_) {
      const auto found = find_loops(tokens);
      result_.loops.push_back(found);
      const bool measurable = tokens.size() >= kLeastLoopTokens;
      const Share none;
      tail.shares.push_back(tokens.size() >= 6 ? Share{tail_repetition(tokens).counts() ? 1.0 : 0.0, 1}
                                               : none);
      looping.shares.push_back(measurable ? Share{found.last ? 1.0 : 0.0, 1} : none);
      const auto inside = found.longest ? found.longest->tokens() : 0;
      share.shares.push_back(
          measurable ? Share{static_cast<double>(inside) / static_cast<double>(tokens.size()), 1} : none);
    }
    conclude(tail, "no sample has 6 tokens, the shortest in which a phrase of 3 can repeat");
    const auto short_of = fmt::format("no sample has {} tokens", kLeastLoopTokens);
    conclude(looping, short_of);
    conclude(share, short_of);
    return {std::move(tail), std::move(looping), std::move(share)};
  }

  std::vector<Metric> longest_repeats() {
    Metric share{"longest-repeat-share",
                 "longest repeated substring, as a share of its sample",
                 "Gusfield 1997, section 7.5",
                 "the two places may overlap; mean over samples",
                 Kind::mean,
                 1,
                 {},
                 {},
                 {},
                 0};
    Metric most{"longest-repeat",
                "tokens of the longest repeated substring of any sample",
                "Gusfield 1997, section 7.5",
                "within a sample; the two places may overlap",
                Kind::whole,
                1,
                {},
                {},
                {},
                0};
    for (const auto& tokens : sequences_) {
      if (tokens.size() < 2) {
        share.shares.push_back({});
        continue;
      }
      const auto longest = static_cast<double>(longest_repeated_substring(tokens));
      share.shares.push_back({longest / static_cast<double>(tokens.size()), 1});
      most.value = std::max(most.value.value_or(0), longest);
      ++most.measured;
    }
    conclude(share, "no sample has two tokens");
    most.reason = share.reason;
    return {std::move(share), std::move(most)};
  }

  std::vector<Metric> sentences() {
    Metric metric{
        "sentence-repetition",
        "sentences that were said before in the same sample",
        "Xu et al. 2022, Learning to Break the Loop (DITTO), section 4.1",
        "1 - distinct sentences / sentences of each sample, then the mean; sentences end with . ! ? their "
        "full-width forms, an ellipsis or a new line",
        Kind::mean,
        1,
        {},
        {},
        {},
        0};
    if (!sentence_ends_.empty()) metric.variant += "; of token ids, with the tokens that were named";
    for (const auto& sample : samples_.all) {
      std::set<std::vector<Token>> by_ids;
      std::set<std::string_view> by_text;
      std::size_t count = 0;
      if (!sentence_ends_.empty()) {
        std::vector<Token> sentence;
        const auto finish = [&] {
          if (!sentence.empty()) by_ids.insert(sentence), ++count;
          sentence.clear();
        };
        for (const auto token : sample.tokens)
          sentence_ends_.contains(token) ? finish() : sentence.push_back(token);
        finish();
      } else {
        const auto all = sentences_of(sample.text);
        by_text.insert(all.begin(), all.end());
        count = all.size();
      }
      metric.shares.push_back(count < 2 ? Share{}
                                        : Share{1 - static_cast<double>(by_ids.size() + by_text.size()) /
                                                        static_cast<double>(count),
                                                1});
    }
    const bool text = std::any_of(samples_.all.begin(), samples_.all.end(),
                                  [](const Sample& sample) { return !sample.text.empty(); });
    conclude(metric, text || !sentence_ends_.empty()
                         ? "no sample has two sentences"
                         : "there is no text, and no token ids that end a sentence were named");
    return {std::move(metric)};
  }

  std::vector<Metric> ends() {
    Metric metric{"ended",     "samples that ended of themselves",
                  "Plumbline", "by the end token, before the length limit",
                  Kind::rate,  -1,
                  {},          {},
                  {},          0};
    for (const auto& sample : samples_.all)
      metric.shares.push_back(sample.ended ? Share{*sample.ended ? 1.0 : 0.0, 1} : Share{});
    conclude(metric, "the file does not say of any sample whether it ended ('ended' or 'finish_reason')");
    return {std::move(metric)};
  }

  std::vector<Metric> compression() {
    Metric metric{"compression-ratio",
                  "bytes over gzipped bytes, all samples together",
                  fmt::format("{}, CR", kShaib),
                  "",
                  Kind::whole,
                  1,
                  {},
                  {},
                  {},
                  samples_.all.size()};
    std::string bytes;
    const bool by_ids = samples_.unit == "token ids";
    Token largest = 0;
    for (const auto& tokens : sequences_)
      for (const auto token : tokens) largest = std::max(largest, token);
    const int width = largest < 0x10000 ? 2 : 4;
    for (const auto& sample : samples_.all) {
      if (!by_ids) {
        if (!bytes.empty()) bytes += ' ';
        bytes += sample.text;
        continue;
      }
      for (const auto token : sample.tokens)
        for (int i = 0; i < width; ++i) bytes += static_cast<char>(token >> (8 * i));
    }
    metric.variant = fmt::format(
        "one gzip, level 6 (its own default), of {}; repeats farther apart than 32 KiB do not show",
        by_ids ? fmt::format("the ids as {}-byte little-endian integers", width)
               : "the texts as UTF-8 with a space between samples");
    // The wrapper of gzip alone is 18 bytes.
    if (bytes.size() < 64)
      metric.reason = "fewer than 64 bytes";
    else
      metric.value = compression_ratio(bytes);
    return {std::move(metric)};
  }

  std::vector<Metric> zipf() {
    Metric metric{"zipf",
                  "Zipf coefficient of all samples together",
                  fmt::format("{}, section 5", kHoltzman),
                  fmt::format("minus the slope of log frequency over log rank, least squares, ranks 1 to {}",
                              kZipfRanks),
                  Kind::whole,
                  0,
                  {},
                  {},
                  {},
                  samples_.all.size()};
    std::unordered_map<Token, std::size_t> counts;
    for (const auto& tokens : sequences_)
      for (const auto token : tokens) ++counts[token];
    std::vector<double> frequencies;
    for (const auto& [token, count] : counts) frequencies.push_back(static_cast<double>(count));
    std::sort(frequencies.begin(), frequencies.end(), std::greater<>());
    if (frequencies.size() > kZipfRanks) frequencies.resize(kZipfRanks);
    if (frequencies.size() < kLeastTypes) {
      metric.reason = fmt::format("fewer than {} distinct tokens", kLeastTypes);
    } else {
      double x = 0, y = 0, xx = 0, xy = 0;
      const auto n = static_cast<double>(frequencies.size());
      for (std::size_t rank = 0; rank < frequencies.size(); ++rank) {
        const double a = std::log(static_cast<double>(rank + 1)), b = std::log(frequencies[rank]);
        x += a, y += b, xx += a * a, xy += a * b;
      }
      metric.value = (x * y - n * xy) / (n * xx - x * x);
    }
    return {std::move(metric)};
  }

  std::vector<Metric> bleu() {
    Metric metric{
        "self-bleu",
        "BLEU-4 of each sample against all others, mean",
        "Zhu et al. 2018, Texygen: A Benchmarking Platform for Text Generation Models, section 2.1",
        "smoothing method 1 of Chen and Cherry 2014, nearest reference length; samples of 4 tokens or more",
        Kind::whole,
        1,
        {},
        {},
        {},
        0};
    double sum = 0;
    const auto spoken =
        std::count_if(sequences_.begin(), sequences_.end(), [](const Sequence& one) { return !one.empty(); });
    if (spoken > 1)
      for (const auto& one : self_bleu(sequences_))
        if (one) sum += *one, ++metric.measured;
    if (metric.measured > 0)
      metric.value = sum / static_cast<double>(metric.measured);
    else
      metric.reason = spoken < 2 ? "there is one sample alone" : "no sample has 4 tokens";
    return {std::move(metric)};
  }

  const Samples& samples_;
  std::set<Token> sentence_ends_;
  std::vector<Sequence> sequences_;
  Repetition result_;
};

}  // namespace

Repetition measure_repetition(const Samples& samples, const std::vector<Token>& sentence_ends) {
  if (!sentence_ends.empty() && samples.unit != "token ids")
    throw InputError(fmt::format("--sentence-ends: are token ids, and {} is measured by {}; leave it out",
                                 printable(samples.file), samples.unit));
  return Measuring(samples, sentence_ends).all();
}

const Metric& find_metric(const Repetition& repetition, const std::string& id) {
  for (const auto& metric : repetition.metrics)
    if (metric.id == id) return metric;
  throw std::logic_error(fmt::format("there is no metric {}", id));
}

double compression_ratio(std::string_view bytes) {
  z_stream stream{};
  if (deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) throw std::bad_alloc();
  std::vector<Bytef> out(1 << 16);
  std::size_t compressed = 0;
  int status = Z_OK;
  while (status == Z_OK) {
    const auto part = std::min<std::size_t>(bytes.size(), 1 << 20);
    if (stream.avail_in == 0) {
      stream.next_in =
          reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));  // zlib's interface is from C
      stream.avail_in = static_cast<uInt>(part);
      bytes.remove_prefix(part);
    }
    stream.next_out = out.data();
    stream.avail_out = static_cast<uInt>(out.size());
    status = deflate(&stream, bytes.empty() ? Z_FINISH : Z_NO_FLUSH);
    compressed += out.size() - stream.avail_out;
  }
  const auto original = stream.total_in;
  deflateEnd(&stream);
  return static_cast<double>(original) / static_cast<double>(compressed);
}

std::vector<std::optional<double>> self_bleu(const std::vector<Sequence>& sequences) {
  constexpr std::size_t kOrder = 4;
  std::vector<double> log_precision(sequences.size(), 0);
  std::vector<char> none_in_common(sequences.size(), 0);
  NGrams grams(sequences);
  for (std::size_t n = 1; n <= kOrder; ++n) {
    if (n > 1) grams.lengthen();
    // How often an n-gram stands in the sequence that has it most often, and in the next.
    struct Most {
      std::uint32_t first = 0, second = 0, whose = 0;
    };
    std::vector<Most> most(grams.distinct());
    std::vector<std::uint32_t> count(grams.distinct(), 0);
    const auto counted = [&](std::size_t s, const auto& body) {
      const auto& numbers = grams.numbers()[s];
      for (const auto number : numbers) ++count[number];
      for (const auto number : numbers) {
        if (count[number] == 0) continue;
        body(number, count[number]);
        count[number] = 0;
      }
    };
    for (std::size_t s = 0; s < sequences.size(); ++s)
      counted(s, [&](std::uint32_t number, std::uint32_t times) {
        auto& best = most[number];
        if (times > best.first)
          best = {times, best.first, static_cast<std::uint32_t>(s)};
        else
          best.second = std::max(best.second, times);
      });
    for (std::size_t s = 0; s < sequences.size(); ++s) {
      double matches = 0;
      counted(s, [&](std::uint32_t number, std::uint32_t times) {
        const auto& best = most[number];
        matches += std::min(times, best.whose == s ? best.second : best.first);
      });
      const auto places = static_cast<double>(std::max<std::size_t>(grams.numbers()[s].size(), 1));
      if (n == 1 && matches == 0) none_in_common[s] = 1;
      log_precision[s] += std::log((matches > 0 ? matches : 0.1) / places) / kOrder;
    }
  }
  std::vector<std::size_t> lengths;
  for (const auto& sequence : sequences) lengths.push_back(sequence.size());
  std::sort(lengths.begin(), lengths.end());
  std::vector<std::optional<double>> all(sequences.size());
  for (std::size_t s = 0; s < sequences.size(); ++s) {
    const auto own = sequences[s].size();
    if (own < kOrder) continue;
    // The nearest of the other lengths, of two as near the shorter one.
    const auto [first, last] = std::equal_range(lengths.begin(), lengths.end(), own);
    auto nearest = own;
    if (last - first == 1) {
      const bool shorter = first != lengths.begin(), longer = last != lengths.end();
      if (shorter && (!longer || own - first[-1] <= *last - own))
        nearest = first[-1];
      else if (longer)
        nearest = *last;
    }
    const double penalty =
        own > nearest ? 1 : std::exp(1 - static_cast<double>(nearest) / static_cast<double>(own));
    all[s] = none_in_common[s] != 0 ? 0 : penalty * std::exp(log_precision[s]);
  }
  return all;
}

}  // namespace plumbline
