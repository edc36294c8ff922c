// For the C++ of qtuner's crates: the tasks of one call of a function in Rust, on libtorch's threads.
//
// By its function in the library: at::parallel_for is a header, which has one thread wherever it is compiled without OpenMP.

#pragma once

#include <c10/util/Exception.h>
#include <torch/csrc/stable/c/shim.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace qtuner {

template <typename Call>
class Tasks {
 public:
  // `run` does tasks begin .. end and returns 0, or 1 after a panic.
  Tasks(const Call& call, int (*run)(const Call*, int64_t begin, int64_t end)) : call(call), run(run) {}

  // Tasks of so many multiplications each.
  void spread(int64_t tasks, int64_t work) {
    const int64_t grain = std::max<int64_t>(1, GRAIN / std::max<int64_t>(1, work));
    int code = 0;
    if (tasks <= grain) {
      failures += run(&call, 0, tasks);
    } else {
      code = torch_parallel_for(0, tasks, grain, part, this);
    }
    TORCH_CHECK(code == 0 && failures == 0, "a kernel panicked");
  }

 private:
  // Multiplications for which another thread pays.
  static constexpr int64_t GRAIN = 1 << 14;

  const Call& call;
  int (*run)(const Call*, int64_t, int64_t);
  std::atomic<int> failures{0};

  static void part(int64_t begin, int64_t end, void* tasks) {
    auto* self = static_cast<Tasks*>(tasks);
    self->failures += self->run(&self->call, begin, end);
  }
};

}  // namespace qtuner
