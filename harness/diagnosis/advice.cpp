#include "harness/diagnosis/advice.hpp"

#include <fmt/format.h>

#include <tuple>

#include "harness/model/departures/departures.hpp"
#include "harness/model/text_placeholders.hpp"

namespace plumbline {

std::string clause_of(const std::string& written, const std::vector<Defect>& catalogue) {
  const auto read = parse_departure(written);
  return (read.number ? describe(*departure_parameter(read.name), fmt::format("{}", *read.number))
                      : defect_named(read.name, catalogue).departure) +
         describe(read.place);
}

reports::Advice advice_on(const std::string& written, const std::vector<Defect>& catalogue,
                          const Specification& specification) {
  const auto name = parse_departure(written).name;
  const auto told = fill_in_advice(defect_named(name, catalogue), specification);
  const auto& [english, chinese] = std::tie(told.advice, told.advice_in_chinese);
  if (written == name) return {written, english, chinese};
  return {written,
          fmt::format("Here: {}. What follows is of {}: {}", clause_of(written, catalogue), name, english),
          fmt::format("此处是 {}；以下说的是 {}：{}", written, name, chinese)};
}

void tell_causes(const std::vector<std::string>& defects, const std::vector<Defect>& catalogue,
                 const Specification& specification, reports::Diagnosis& diagnosis) {
  for (const auto& name : defects) {
    diagnosis.causes.push_back({name, clause_of(name, catalogue), {}});
    diagnosis.advice.push_back(advice_on(name, catalogue, specification));
  }
}

}  // namespace plumbline
