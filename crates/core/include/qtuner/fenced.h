// For the C++ of qtuner's crates: no exception crosses into Rust, messages are kept per thread.
//
// A crate that depends on qtuner-core finds the folder of this header in DEP_QTUNER_CORE_INCLUDE in its build script.

#pragma once

#include <c10/util/Exception.h>

#include <exception>
#include <string>

namespace qtuner {

// The message of the last failure on this thread.
inline thread_local std::string last_error;

// Runs `body`; returns 0, or 1 after keeping the message of what it threw.
template <typename Body>
int fenced(Body body) noexcept {
  try {
    body();
    return 0;
  } catch (const c10::Error& error) {
    last_error = error.what_without_backtrace();
  } catch (const std::exception& error) {
    last_error = error.what();
  } catch (...) {
    last_error = "an exception of unknown type";
  }
  return 1;
}

}  // namespace qtuner
