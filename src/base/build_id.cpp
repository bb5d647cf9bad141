#include "base/build_id.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <sys/stat.h>

#include <cstdint>
#include <cstring>

namespace kiln {
namespace {

struct Search {
  uintptr_t address = 0;
  std::string id;
};

// The note NT_GNU_BUILD_ID among the notes in [begin, end), as hexadecimal digits.
std::string find_note(const char* begin, const char* end) {
  while (static_cast<size_t>(end - begin) > sizeof(ElfW(Nhdr))) {
    ElfW(Nhdr) note;
    std::memcpy(&note, begin, sizeof note);
    const char* name = begin + sizeof note;
    const size_t name_bytes = (note.n_namesz + size_t{3}) / 4 * 4;
    const size_t bytes = name_bytes + (note.n_descsz + size_t{3}) / 4 * 4;
    if (bytes > static_cast<size_t>(end - name)) break;
    if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && std::memcmp(name, "GNU", 4) == 0) {
      std::string text;
      for (size_t i = 0; i < note.n_descsz; ++i) {
        const auto byte = static_cast<unsigned char>(name[name_bytes + i]);
        text += "0123456789abcdef"[byte >> 4];
        text += "0123456789abcdef"[byte & 15];
      }
      return text;
    }
    begin = name + bytes;
  }
  return {};
}

int visit(dl_phdr_info* info, size_t, void* data) {
  auto* search = static_cast<Search*>(data);
  bool inside = false;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)& part = info->dlpi_phdr[i];
    const uintptr_t begin = info->dlpi_addr + part.p_vaddr;
    inside = inside || (part.p_type == PT_LOAD && search->address >= begin &&
                        search->address - begin < part.p_memsz);
  }
  if (!inside) return 0;
  for (int i = 0; i < info->dlpi_phnum && search->id.empty(); ++i) {
    const ElfW(Phdr)& part = info->dlpi_phdr[i];
    if (part.p_type != PT_NOTE) continue;
    const char* begin = reinterpret_cast<const char*>(info->dlpi_addr + part.p_vaddr);
    search->id = find_note(begin, begin + part.p_memsz);
  }
  return 1;
}

}  // namespace

std::string build_id(const void* address) {
  Search search;
  search.address = reinterpret_cast<uintptr_t>(address);
  dl_iterate_phdr(visit, &search);
  if (!search.id.empty()) return search.id;
  Dl_info where{};
  if (dladdr(address, &where) == 0 || where.dli_fname == nullptr) return {};
  return file_identity(where.dli_fname);
}

std::string file_identity(const std::string& path) {
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) return {};
  return std::to_string(info.st_size) + "@" + std::to_string(info.st_mtim.tv_sec) + "." +
         std::to_string(info.st_mtim.tv_nsec);
}

}  // namespace kiln
