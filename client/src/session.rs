//! What every verb works with: the options, the surroundings, the screen and one connection.

use crate::cli::Global;
use crate::connection::{self, Answer, Connection, Listener, connect, nobody_listens};
use crate::daemon::{self, Start};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::render::progress::Reporter;
use crate::render::screen::Screen;
use interprocess::local_socket::Stream;
use proto::ErrorKind;
use proto::method::{HelloAnswer, Method, Target};
use proto::places::{self, PlaceError};
use std::path::{Path, PathBuf};

/// How often hello is said to a daemon that hangs up on it.
const HELLOS: u32 = 3;

/// What every verb works with. The connection is made by the first call.
pub struct Session {
    /// Where to write.
    pub screen: Screen,
    /// Whether the user wants to stop.
    pub interrupt: Interrupt,
    /// The surroundings.
    pub environment: Environment,
    options: Global,
    connection: Option<Connection>,
    /// Whether that is to the machine's own daemon.
    is_system: bool,
    greeting: Option<HelloAnswer>,
}

impl Session {
    /// Makes a session; talks to nobody yet.
    ///
    /// # Errors
    /// The kernel refuses signal handlers.
    pub fn new(options: Global, environment: Environment) -> Result<Self, Failure> {
        let interrupt =
            Interrupt::listen().map_err(|error| Failure::of(&error, ErrorKind::Internal, None))?;
        let screen = Screen::new(&options, &environment);
        Ok(Self {
            screen,
            interrupt,
            environment,
            options,
            connection: None,
            is_system: false,
            greeting: None,
        })
    }

    /// Names a version as seen from here.
    pub fn target(&self, version: &str) -> Target {
        Target {
            version: version.to_owned(),
            cwd: self.environment.cwd().map(|cwd| cwd.to_string_lossy().into_owned()),
            comfy_home: self.environment.comfy_home(),
        }
    }

    /// Returns whether only cached things may be used, given the verb's own switch.
    pub fn offline(&self, asked: bool) -> bool {
        asked || self.environment.offline()
    }

    /// Makes a call, showing its progress. The first call connects, and starts the daemon when none
    /// listens, unless that is forbidden.
    ///
    /// # Errors
    /// What the daemon answered, or why it could not be asked.
    pub fn call<M: Method>(&mut self, params: &M) -> Result<Answer<M>, Failure> {
        let mut connection = self.connected()?;
        let mut reporter = Reporter::new(&mut self.screen);
        let answer = connection.call(params, &mut reporter, &self.interrupt);
        reporter.finish();
        self.connection = Some(connection);
        answer.map_err(|error| self.explain(error))
    }

    /// As [`Self::call`], for a verb that shows by itself how it goes.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn call_with<M: Method>(
        &mut self,
        params: &M,
        listener: &mut dyn Listener,
    ) -> Result<Answer<M>, Failure> {
        let mut connection = self.connected()?;
        let answer = connection.call(params, listener, &self.interrupt);
        self.connection = Some(connection);
        answer.map_err(|error| self.explain(error))
    }

    /// Returns the connection, which the caller gives back.
    fn connected(&mut self) -> Result<Connection, Failure> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => self.connect(self.may_start()),
        }
    }

    /// Connects without ever starting a daemon, for verbs that make no sense with a fresh one.
    ///
    /// # Errors
    /// None listens, or it does not answer `hello`.
    pub fn connect_to_running(&mut self) -> Result<(), Failure> {
        let connection = self.connect(false)?;
        self.connection = Some(connection);
        Ok(())
    }

    /// Returns how the daemon introduced itself, once there was a connection.
    pub fn greeting(&self) -> Option<&HelloAnswer> {
        self.greeting.as_ref()
    }

    /// Returns whether a daemon may be started where none listens.
    pub fn may_start(&self) -> bool {
        !self.options.no_start
    }

    /// Gives the connection away, to wait for its end.
    pub fn take_connection(&mut self) -> Option<Connection> {
        self.connection.take()
    }

    fn connect(&mut self, may_start: bool) -> Result<Connection, Failure> {
        let (connection, hello) = self.open(may_start, HELLOS)?;
        for warning in &hello.warnings {
            self.screen.warn(warning);
        }
        self.screen.detail(&format!("connected to comfyd {} (process {})", hello.version, hello.pid));
        self.greeting = Some(hello);
        Ok(connection)
    }

    /// Says hello. A daemon that was killed or is stopping may still take a connection and drop it: then
    /// nobody listened, and it is tried again.
    fn open(&mut self, may_start: bool, tries: u32) -> Result<(Connection, HelloAnswer), Failure> {
        let stream = self.stream(may_start)?;
        match Connection::open(stream, self.environment.told(), &self.interrupt) {
            Err(connection::Error::Closed { .. } | connection::Error::Talk(_)) if tries > 1 => {
                self.open(may_start, tries - 1)
            }
            opened => Ok(opened?),
        }
    }

    /// Connects to the daemon of the socket that was named. Where none was, to the user's own, to the machine's, or to
    /// one that is started: the first of these that there is.
    fn stream(&mut self, may_start: bool) -> Result<Stream, Failure> {
        self.is_system = false;
        // A service without HOME has no place for a daemon of its own.
        if let (Err(PlaceError::NoHome), Some(system)) = (self.environment.socket(), self.system_socket()) {
            return self.system_stream(system, may_start);
        }
        let socket = self.socket()?;
        match connect(&socket) {
            Ok(stream) => Ok(stream),
            Err(error) if !nobody_listens(&error) => {
                Err(daemon::Error::Connect { socket, source: error }.into())
            }
            Err(_) => match daemon::wait_for_socket(&socket, &self.interrupt) {
                Some(stream) => Ok(stream),
                None => self.other_stream(socket, may_start),
            },
        }
    }

    fn other_stream(&mut self, own: PathBuf, may_start: bool) -> Result<Stream, Failure> {
        match self.system_socket() {
            Some(system) => self.system_stream(system, may_start),
            None if may_start => self.start(own),
            None => Err(daemon::Error::NotRunning(own).into()),
        }
    }

    /// Returns the machine's socket, where no other was named and this user may use it.
    fn system_socket(&self) -> Option<&'static Path> {
        self.environment.system_socket().filter(|_| self.options.socket.is_none())
    }

    fn system_stream(&mut self, system: &Path, may_start: bool) -> Result<Stream, Failure> {
        self.is_system = true;
        Ok(daemon::connect_to_system(system, may_start)?)
    }

    fn start(&self, socket: PathBuf) -> Result<Stream, Failure> {
        let program = self.environment.daemon_program();
        self.screen.detail(&format!("starting `{}`", program.display()));
        let (state_dir, volume_wait) = (self.environment.state_dir()?, self.environment.volume_wait());
        let start = Start { program, socket, state_dir, volume_wait };
        let on_wait = |log: &Path| {
            self.screen
                .note(&format!("comfyd does not listen yet; `{}` says what it waits for", log.display()));
        };
        Ok(start.run(&self.interrupt, on_wait)?)
    }

    /// Returns the socket of the daemon that is connected to, or would be asked first.
    ///
    /// # Errors
    /// An option or a variable that cannot be followed.
    pub fn socket(&self) -> Result<PathBuf, Failure> {
        let Some(socket) = &self.options.socket else {
            let system = self.environment.system_socket().filter(|_| self.is_system);
            return system.map_or_else(|| Ok(self.environment.socket()?), |system| Ok(system.to_owned()));
        };
        let socket = match self.environment.cwd() {
            Some(cwd) => cwd.join(socket),
            None => socket.clone(),
        };
        places::fits_socket(&socket)?;
        Ok(socket)
    }

    /// Adds what only the session knows: where the daemon's log lies.
    fn explain(&self, error: connection::Error) -> Failure {
        let closed = matches!(error, connection::Error::Closed { .. });
        let failure = Failure::from(error);
        match self.environment.state_dir() {
            _ if closed && self.is_system => {
                failure.hint("look for the reason with `journalctl --unit comfyd`".to_owned())
            }
            Ok(dir) if closed => {
                let log = daemon::log_path(&dir);
                failure.hint(format!("look for the reason in the daemon's log `{}`", log.display()))
            }
            _ => failure,
        }
    }
}
