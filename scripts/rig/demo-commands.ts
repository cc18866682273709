import { nonAsciiName } from './demo-image.js';

/** Where the guest leaves its file, inside its root. */
export const writtenFile = '/written-by-the-guest';
export const writtenText = 'hello from the guest';

/** Runs in the image made here. Each line proves one thing about its layers, or the command fails. */
export const demoScript = `set -e
. /etc/os-release
echo "system:           $PRETTY_NAME on Linux $(uname -r)"
echo "hard link:        $(/opt/app/hardlink) ($(stat -c '%h names' /opt/app/hardlink))"
test "$(stat -c %h /opt/app/hardlink)" = 2
test ! -e /opt/deleted && test ! -e /opt/deleted-folder
echo "whiteouts:        /opt has only: $(ls /opt)"
test "$(ls /opt/app/conf | tr '\\n' ' ')" = "added.conf new.conf "
echo "opaque folder:    $(ls /opt/app/conf | tr '\\n' ' ')"
test "$(readlink /opt/app/symlink)" = program
echo "symbolic link:    $(readlink /opt/app/symlink)"
test -u /opt/app/setuid
echo "setuid:           $(stat -c %A /opt/app/setuid)"
echo "file capability:  $(getcap /opt/app/capable)"
getcap /opt/app/capable | grep -q cap_net_raw
test -p /run/fifo
echo "fifo:             $(stat -c %F /run/fifo)"
echo "non-ASCII name:   $(cat '/${nonAsciiName}')"
echo '${writtenText}' > ${writtenFile}
echo "written:          ${writtenFile}"
`;

/** Runs in any image that has a shell, with the shell alone. */
export const anyImageScript = `
[ -r /etc/os-release ] && . /etc/os-release
echo "system: \${PRETTY_NAME:-unknown}"
echo "root:   $(cd / && echo *)"
echo '${writtenText}' > ${writtenFile} && echo "written: ${writtenFile}"
`;

/** The guest's own shell, which any root can reach while /proc is mounted. */
export const guestShell = ['/proc/1/root/bin/busybox', 'sh'];
