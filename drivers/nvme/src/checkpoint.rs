//! The named steps at which a crash can be injected.
//!
//! Each is passed to [`platform::Platform::checkpoint`] when the driver is there, with whatever it holds
//! and has half done. A crash port must bring the disk back from every one of them.

macro_rules! checkpoints {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub const $name: &str = $text;)*

        /// All of them.
        pub const ALL: &[&str] = &[$($text),*];
    };
}

checkpoints! {
    /// A slot is taken for a request; the device knows nothing.
    SUBMIT_SLOT_TAKEN = "nvme.submit.slot_taken";
    /// The PRP list is written.
    SUBMIT_LIST_WRITTEN = "nvme.submit.list_written";
    /// Half of the submission queue entry is written.
    SUBMIT_ENTRY_HALF = "nvme.submit.entry_half";
    /// The entry is written, the doorbell not rung.
    SUBMIT_BEFORE_DOORBELL = "nvme.submit.before_doorbell";
    /// The device knows of the command.
    SUBMIT_AFTER_DOORBELL = "nvme.submit.after_doorbell";
    /// A completion was read, and nothing done about it.
    COMPLETE_ENTRY_READ = "nvme.complete.entry_read";
    /// Completions are dealt with, the doorbell is not rung.
    COMPLETE_BEFORE_DOORBELL = "nvme.complete.before_doorbell";
    /// The completion doorbell is rung.
    COMPLETE_AFTER_DOORBELL = "nvme.complete.after_doorbell";
    /// Half of an admin command's entry is written.
    ADMIN_ENTRY_HALF = "nvme.admin.entry_half";
    /// An admin command is written, the doorbell not rung.
    ADMIN_BEFORE_DOORBELL = "nvme.admin.before_doorbell";
    /// The device knows of the admin command.
    ADMIN_AFTER_DOORBELL = "nvme.admin.after_doorbell";
    /// An admin command's completion was read.
    ADMIN_COMPLETED = "nvme.admin.completed";
    /// An Abort is under way.
    ABORT_SENT = "nvme.abort.sent";
    /// A reset was decided on, no register is written.
    RESET_BEGIN = "nvme.reset.begin";
    /// The controller was told to stop.
    RESET_DISABLED = "nvme.reset.disabled";
    /// The controller has stopped; its queues are as they were.
    RESET_STOPPED = "nvme.reset.stopped";
    /// The queues are empty, requests in flight were given up.
    INIT_QUEUES_CLEARED = "nvme.init.queues_cleared";
    /// Only one of the two admin queue addresses is written.
    INIT_ADMIN_QUEUE_HALF = "nvme.init.admin_queue_half";
    /// All is set, but the controller is not enabled.
    INIT_BEFORE_ENABLE = "nvme.init.before_enable";
    /// The controller was told to start.
    INIT_ENABLED = "nvme.init.enabled";
    /// The controller is ready, without I/O queues.
    INIT_READY = "nvme.init.ready";
    /// The I/O completion queue exists, the submission queue does not.
    INIT_QUEUE_HALF = "nvme.init.queue_half";
    /// The I/O queue pair exists, the spare one does not.
    INIT_QUEUE_CREATED = "nvme.init.queue_created";
    /// The spare completion queue exists, its submission queue does not.
    INIT_SPARE_HALF = "nvme.init.spare_half";
    /// All queues exist; namespaces come next.
    INIT_NAMESPACES = "nvme.init.namespaces";
    /// Everything is there, but nobody was told.
    INIT_COMPLETE = "nvme.init.complete";
    /// A shutdown was asked for.
    SHUTDOWN_REQUESTED = "nvme.shutdown.requested";
}
