// Which build of a library or program is running.
#pragma once

#include <string>

namespace kiln {

// Identifies the machine code of the loaded object (library or executable) that holds `address`:
// the linker's build id, or else its size and time of change. Differs after every rebuild that
// changed something. Empty when neither can be found out.
std::string build_id(const void* address);

// The same of a file by its size and time of change; empty when it cannot be found.
std::string file_identity(const std::string& path);

}  // namespace kiln
