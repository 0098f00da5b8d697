#include "quiesce/runtime/base/unique_fd.h"

#include <errno.h>
#include <fcntl.h>

#include <utility>

#include "gtest/gtest.h"

namespace quiesce {
namespace {

bool IsOpen(int fd) { return fcntl(fd, F_GETFD) >= 0; }
int OpenSomething() { return open("/dev/null", O_RDONLY | O_CLOEXEC); }

TEST(UniqueFdTest, EndOfTheOwnerCloses) {
  const int fd = OpenSomething();
  {
    UniqueFd owner(fd);
    EXPECT_TRUE(owner.valid());
    EXPECT_EQ(owner.get(), fd);
    EXPECT_TRUE(IsOpen(fd));
  }
  EXPECT_FALSE(IsOpen(fd));
}

TEST(UniqueFdTest, MoveLeavesOneOwnerAndClosesWhatTheTargetHeld) {
  const int first = OpenSomething();
  const int second = OpenSomething();
  UniqueFd from(first);
  UniqueFd to(second);
  to = std::move(from);
  EXPECT_FALSE(from.valid());
  EXPECT_EQ(to.get(), first);
  EXPECT_TRUE(IsOpen(first));
  EXPECT_FALSE(IsOpen(second));
}

TEST(UniqueFdTest, MoveOntoItselfKeepsTheDescriptor) {
  UniqueFd owner(OpenSomething());
  UniqueFd& alias = owner;
  owner = std::move(alias);
  EXPECT_TRUE(IsOpen(owner.get()));
}

TEST(UniqueFdTest, ReleaseLeavesTheDescriptorOpen) {
  const int fd = OpenSomething();
  {
    EXPECT_EQ(UniqueFd(fd).Release(), fd);
  }
  EXPECT_TRUE(IsOpen(fd));
  UniqueFd closes(fd);
}

TEST(UniqueFdTest, CloseKeepsErrno) {
  const int fd = OpenSomething();
  UniqueFd owner(fd);
  close(fd);  // so that the owner's close fails with EBADF
  errno = EMFILE;
  owner.Reset();
  EXPECT_EQ(errno, EMFILE);
}

}  // namespace
}  // namespace quiesce
