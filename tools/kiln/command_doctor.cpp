// kiln doctor: what this machine has, and what to do about what is missing.
#include <cstdio>

#include "base/options.h"
#include "tools/kiln/command.h"
#include "tools/kiln/machine.h"
#include "tools/kiln/output.h"

namespace kiln::tool {
namespace {

constexpr const char* kHelp =
    "  --options   also lists the switches of KILN_OPTIONS\n"
    "  --json      one JSON document on standard output\n"
    "\nThe exit code is 0 when programs can run here, 1 when something they need is missing.\n";

const char* name_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk: return "ok";
    case Verdict::kNote: return "note";
    case Verdict::kWarning: return "warning";
    case Verdict::kProblem: return "problem";
  }
  return "";
}

Result<int> doctor(const Arguments& arguments) {
  if (!arguments.words.empty()) {
    return Status::error("K1008", "kiln doctor takes no file", "kiln help doctor");
  }
  const Finding findings[] = {probe_versions(),   probe_cpu(),   probe_threads(),
                              probe_memory(),     probe_huge_pages(), probe_onednn(),
                              probe_torch(),      probe_cuda(),  probe_environment()};
  bool usable = true;
  for (const Finding& finding : findings) usable = usable && finding.verdict != Verdict::kProblem;
  if (arguments.has("json")) {
    Json json = Json::object();
    json.set("usable", usable);
    Json::Array rows;
    for (const Finding& finding : findings) {
      Json row = Json::object();
      row.set("topic", finding.topic);
      row.set("verdict", name_of(finding.verdict));
      row.set("text", finding.text);
      row.set("advice", finding.advice);
      row.set("details", finding.details);
      rows.push_back(std::move(row));
    }
    json.set("findings", Json(std::move(rows)));
    if (arguments.has("options")) json.set("options", describe_debug_options());
    print_json(json);
    return usable ? 0 : 1;
  }
  for (const Finding& finding : findings) {
    std::printf("%-8s %-12s %s\n", name_of(finding.verdict), finding.topic.c_str(),
                finding.text.c_str());
    if (!finding.advice.empty()) std::printf("%22s-> %s\n", "", finding.advice.c_str());
  }
  if (arguments.has("options")) {
    std::printf("\nKILN_OPTIONS=\"name=value,...\" switches, with their defaults:\n%s",
                describe_debug_options().c_str());
  }
  std::puts(usable ? "\nkiln can run programs here" : "\nkiln cannot run all programs here");
  return usable ? 0 : 1;
}

}  // namespace

Command doctor_command() {
  return {"doctor",    "[--options] [--json]", "says what this machine has and what is missing",
          kHelp,       {"options", "json"},    {},
          doctor};
}

}  // namespace kiln::tool
